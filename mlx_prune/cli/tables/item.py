"""One question and its answers, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mlx_prune import words
from mlx_prune.bbq.answers import LETTERS
from mlx_prune.cli.terminal.table import FittedTable
from mlx_prune.report.side_by_side import Moved, Side, role

if TYPE_CHECKING:
    from rich.console import Console

    from mlx_prune.bbq.item import Item
    from mlx_prune.cli.terminal.table import Cell

MOVED_NOTE = (
    "moved: total variation of the first token's probabilities, 0 to 1. lean: change of the stereotyped "
    "option's probability minus the other person's. Show one with its id, such as Age:101."
)
_STYLES = {
    "stereotyped": "dark_orange3",
    "other": "dodger_blue2",
    "unknown": "green4",
    "person": "",
    "": "dim",
}
_TOLD = {"other": "other person", "person": "a person"}
_BAR = 6
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float, width: int = _BAR) -> str:
    """A share of 1 as a bar of so many characters, to an eighth of one."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return f"{'█' * full}{_EIGHTHS[rest] if rest else ''}".ljust(width)


def print_question(screen: Console, item: Item) -> None:
    """Its id, text and options with their roles."""
    from rich.table import Table
    from rich.text import Text

    about = [
        "ambiguous" if item.context_condition == "ambig" else "disambiguated",
        item.question_polarity,
        f"template {item.question_index}",
        *([f"about {item.group}"] if item.group else []),
    ]
    screen.print(Text(item.item_id, "bold") + Text(f"  {', '.join(about)}", "dim"))
    screen.print(item.context)
    screen.print(item.question, style="bold")
    grid = Table.grid(padding=(0, 2))
    for place, (letter, text) in enumerate(zip(LETTERS, item.answers, strict=True)):
        kind = role(item, place)
        right = ", right" if place == item.label else ""
        told = f"{_TOLD.get(kind, kind)}{right}"
        grid.add_row(Text(f"  {letter}", "bold"), screen.render_str(text), Text(told, _STYLES[kind]))
    screen.print(grid)
    screen.print()


def answers_tables(sides: Sequence[Side], item: Item | None) -> Iterator[FittedTable]:
    """A table per model, a line per version: probabilities as bars, and the letters under the seeds."""
    for model in dict.fromkeys(side.configuration.model for side in sides):
        mine = [side for side in sides if side.configuration.model == model]
        table = FittedTable(model, keys=1)
        table.add_column("version")
        for letter in LETTERS:
            table.add_column(f"{letter}, %")
        table.add_column("no\nletter", justify="right")
        table.add_column(f"answers,\n{_seeds(mine)}")
        for side in mine:
            table.add_row(side.configuration.name, *_cells(side, item))
        yield table


def _seeds(sides: Sequence[Side]) -> str:
    most = max((len(side.answers.answers) for side in sides if side.answers is not None), default=0)
    return words.counted(most, "seed")


def _cells(side: Side, item: Item | None) -> list[Cell]:
    from rich.text import Text

    if side.answers is None:
        return [*[words.NONE] * (len(LETTERS) + 1), "not asked"]
    found: list[Cell] = []
    p = side.answers.probabilities
    for place in range(len(LETTERS)):
        if p is None:
            found.append(words.NONE)
        else:
            text = f"{bar(p[place])} {words.percent_cell(p[place], 0):>3}"
            found.append(Text(text, _style(item, place)))
    found.append(words.NONE if p is None else words.percent_cell(side.answers.elsewhere, 0))
    letters = [
        Text("-" if one.option is None else LETTERS[one.option], _style(item, one.option))
        for one in side.answers.answers
    ]
    found.append(Text(" ").join(letters))
    return found


def _style(item: Item | None, option: int | None) -> str:
    return "" if item is None else _STYLES[role(item, option)]


def print_responses(screen: Console, sides: Sequence[Side]) -> None:
    """What was said where it is more than the letter that was read from it."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    several = len({side.configuration.model for side in sides}) > 1
    for side in sides:
        name = side.configuration.full_name if several else side.configuration.name
        for one in () if side.answers is None else side.answers.answers:
            letter = "nothing" if one.option is None else LETTERS[one.option]
            spoken = " ".join(one.response.split())
            if spoken != letter:
                read = letter if one.option is None else f"{letter}, {one.rule.replace('_', ' ')}"
                lines.setdefault((name, f"“{spoken}”", read), []).append(str(one.seed))
    if lines:
        table = FittedTable("Said", keys=1)
        table.add_column("version")
        for heading in ("response", "read as", "under seeds"):
            table.add_column(heading, wrap=True)
        for line, seeds in lines.items():
            table.add_row(*line, ", ".join(seeds))
        screen.print(table)


def moved_table(moved: Sequence[Moved], items: Mapping[str, Item]) -> FittedTable:
    """The questions that moved most, version by version."""
    several = len({one.configuration.model for one in moved}) > 1
    table = FittedTable("Questions that moved most", keys=2)
    table.add_column("version")
    table.add_column("item")
    table.add_column("moved", justify="right")
    table.add_column("lean", justify="right")
    table.add_column("text", wrap=True)
    previous = None
    for one in moved:
        name = one.configuration.full_name if several else one.configuration.name
        if previous not in (None, name):
            table.add_section()
        item = items.get(one.item_id)
        text = words.NONE if item is None else f"{item.context} {item.question}"
        table.add_row(
            "" if name == previous else name,
            one.item_id,
            words.fixed(one.distance, 2),
            words.signed(one.lean, 2),
            text,
        )
        previous = name
    return table
