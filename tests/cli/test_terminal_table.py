"""A table shows everything it holds at any width, and is one table where that is wide enough."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Span, Text

from mlx_prune.cli.terminal.plain import PlainConsole
from mlx_prune.cli.terminal.table import FittedTable
from mlx_prune.cli.terminal.unbroken import Unbroken

words = st.text("abcXYZ019.-+%[]/", min_size=1, max_size=11)
tables = st.integers(1, 9).flatmap(
    lambda columns: st.tuples(
        st.lists(words, min_size=columns, max_size=columns),
        st.lists(st.lists(words, min_size=columns, max_size=columns), max_size=4),
    )
)


def printed(table: FittedTable, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as shown:
        console.print(table)
    return [line.rstrip() for line in shown.get().splitlines()]


def made(headings: list[str], rows: list[list[str]]) -> FittedTable:
    table = FittedTable("A title")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


@given(tables, st.integers(30, 130))
@example((["version", "a", "b"], [["wanda 50 %", "[/x]", "[bold]"]]), 30)
@settings(max_examples=60, deadline=None)
def test_no_width_cuts_a_cell_or_leaves_one_out(held: tuple[list[str], list[list[str]]], width: int) -> None:
    headings, rows = held
    lines = printed(made(headings, rows), width)
    assert max(len(line) for line in lines) <= width
    found: list[str] = [word for line in lines for word in line.split()]
    # The first column is there once per part, every other cell once.
    for place in range(1, len(headings)):
        for cell in (headings[place], *(row[place] for row in rows)):
            assert cell in found
            found.remove(cell)


def study_like() -> FittedTable:
    table = FittedTable("Rates")
    table.add_column("method")
    for name in ("zeros %", "perplexity"):
        table.add_column(name, justify="right", group="model")
    for name in ("answered", "SRS", "USR", "anti"):
        table.add_column(name, justify="right", group="answers")
    table.add_row("wanda 50 %", "50.0", "13.10", "99 %", "0.191", "0.672", "0.137")
    return table


def test_a_table_that_fits_is_one_table() -> None:
    assert printed(study_like(), 80)[1].split() == [
        *("method", "zeros", "%", "perplexity"),
        *("answered", "SRS", "USR", "anti"),
    ]


def test_where_it_breaks_groups_stay_together_and_rows_keep_their_names() -> None:
    lines = printed(study_like(), 50)
    assert [line.split() for line in lines if "method" in line] == [
        ["method", "zeros", "%", "perplexity"],
        ["method", "answered", "SRS", "USR", "anti"],
    ]
    assert sum("wanda 50 %" in line for line in lines) == 2


def test_a_group_wider_than_the_terminal_breaks_inside() -> None:
    lines = printed(study_like(), 30)
    assert max(map(len, lines)) <= 30
    assert {"answered", "SRS", "USR", "anti"} <= {word for line in lines for word in line.split()}


def test_prose_wraps_before_the_table_breaks() -> None:
    table = FittedTable()
    table.add_column("version")
    table.add_column("dominated by", wrap=True)
    table.add_row("wanda 50 %", "width 50 %, width+mxfp4 50 %, q4 and eleven more of the versions")
    wide, narrow = printed(table, 120), printed(table, 40)
    assert len([line for line in wide if line]) == 3
    assert sum("version" in line.split() for line in narrow) == 1
    assert "eleven" in " ".join(narrow)


def test_names_longer_than_the_terminal_fold() -> None:
    table = FittedTable()
    table.add_column("method")
    table.add_column("SRS", justify="right")
    table.add_row("x" * 100, "0.191")
    lines = printed(table, 40)
    assert max(map(len, lines)) <= 40
    assert sum(line.count("x") for line in lines) == 100
    assert "0.191" in "".join(lines)


def test_cells_are_plain_text_unless_styled() -> None:
    table = FittedTable()
    table.add_column("name")
    table.add_row("[red]no[/] [/x]")
    table.add_row(Text("struck", style="dim strike"))
    shown = printed(table, 40)
    assert "[red]no[/] [/x]" in shown
    console = Console(width=40, color_system="standard", force_terminal=True)
    with console.capture() as styled:
        console.print(table)
    assert "\x1b[2;9mstruck" in styled.get()


# What labels and sentences are made of, and words from outside: a line keeps each of them whole.
outside = st.text(st.characters(exclude_categories=["Z", "C"]) | st.characters(categories=["Co"]), min_size=1)
written = st.sampled_from(["wanda@chat+recover+q4", "50 %", "+12.5 %", "1,234 kB", "30 min", "3 mine"])
sentences = st.lists(written | outside, min_size=1, max_size=12)


@given(sentences, st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_a_wrapped_text_keeps_every_word_and_no_number_leaves_its_unit(said: list[str], more: int) -> None:
    text = Unbroken(" ".join(said))
    width = more + max(map(cell_len, text.words()))
    lines = text.wrap(Console(width=width), width, overflow="fold")
    assert all(cell_len(line.plain) <= width for line in lines)
    shown, found = "\n".join(line.plain for line in lines), 0
    for word in said:
        # "3 mine" is a number and a word.
        for part in word.split() if word == "3 mine" else [word]:
            found = shown.index(part, found) + len(part)
    assert not shown[found:].strip()


@given(
    st.lists(outside, min_size=1, max_size=12).filter(lambda said: "%" not in "".join(said)),
    st.integers(5, 40),
)
@settings(max_examples=50, deadline=None)
def test_a_text_without_units_breaks_where_rich_breaks_it(said: list[str], width: int) -> None:
    text, console = " ".join(f"{word}." for word in said), Console(width=width)
    ours, theirs = (one.wrap(console, width, overflow="fold") for one in (Unbroken(text), Text(text)))
    assert [line.plain for line in ours] == [line.plain for line in theirs]


def test_a_label_that_wraps_in_a_table_keeps_its_percentage() -> None:
    table = FittedTable()
    table.add_column("method", wrap=True)
    table.add_column("ppl", justify="right")
    table.add_row("wanda@everyday+recover+q4 12.5 %", "3.20")
    table.add_row(Text("wanda@everyday 12.5 %", style="dim"), "3.20")
    for width in range(12, 50):
        assert sum("12.5 %" in line for line in printed(table, width)) == 2


def test_sentences_keep_numbers_beside_their_units_and_styles_where_they_are() -> None:
    console = PlainConsole(width=12)
    with console.capture() as shown:
        console.print("twelve is 12 % and so on", style="dim")
        console.print(Text("twelve is ") + Text("12 %", "bold") + Text(" of it"))
    assert [line.rstrip() for line in shown.get().splitlines()] == [
        *("twelve is", "12 % and so", "on", "twelve is", "12 % of it")
    ]
    text = Unbroken.of(Text("a is ") + Text("12 %", "bold"))
    lines = text.wrap(console, 6)
    assert [(line.plain, line.spans) for line in lines] == [("a is ", []), ("12 %", [Span(0, 4, "bold")])]
