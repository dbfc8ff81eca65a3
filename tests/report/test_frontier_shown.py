"""How gain and price are shown: the figure, the page's section, the terminal, and the words for each."""

import io
import re

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from mixed_study import FEW, MIXED, by_label, write_mixed_study
from page_parts import frontier_section
from rich.console import Console

from mlx_prune.cli.tables.frontier import FRONTIER_LEGEND, frontier_table
from mlx_prune.report.figures.draw import FRONTIER, draw, render
from mlx_prune.report.figures.drawn import DrawnFigure
from mlx_prune.report.figures.style import MUTED, NARROW, WIDE
from mlx_prune.report.words.finding import find
from mlx_prune.report.write import report_tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return report_tables(write_mixed_study(tmp_path_factory.mktemp("mixed"), items=40))


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_figure_colors_and_names_the_undominated_and_labels_touch_no_other(tables, layout):
    figure = draw(FRONTIER, tables, layout)
    assert len(figure.axes) == 8
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes, model in zip(figure.axes, ["alpha"] * 4 + ["beta"] * 4, strict=True):
        rows = tables["frontier"].where(model=model).rows
        named = {row.configuration.name for row in rows if row["standing"] == "undominated"} | {"dense"}
        texts = [text for text in axes.texts if not text.get_text().startswith("↑")]
        assert {text.get_text() for text in texts} == named
        points = [line for line in axes.get_lines() if line.get_marker() != "None" and len(line.get_xdata())]
        gray = sum(line.get_color() == MUTED.light for line in points)
        assert (len(points), gray) == (len(rows), len(rows) - len(named))
        for text in axes.texts:
            text.update_positions(renderer)
        # Of the text alone: an annotation's own extent holds its leader line, too.
        boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:number])


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
def test_of_a_few_versions_the_figure_names_the_dominated_in_gray(tmp_path, layout):
    grid = tuple(entry for entry in FEW if entry[0] in ("dense", "random", "width", "q4"))
    tables = report_tables(write_mixed_study(tmp_path, models=("alpha",), items=40, grid=grid))
    rows = {row.configuration.name: row for row in tables.frontier.rows}
    names = {"random 50 %", "width 50 %", "q4", "dense"}
    gray = {"random 50 %", "width 50 %"}
    assert {name for name in names - {"dense"} if rows[name].standing != "undominated"} == gray
    for axes in draw(FRONTIER, tables, layout).axes:
        colors = {text.get_text().split(" ↑")[0]: text.get_color() for text in axes.texts}
        assert set(colors) == names
        assert {name for name, color in colors.items() if color == MUTED.light} == gray
        beyond = [text.get_text() for text in axes.texts if "↑" in text.get_text()]
        assert beyond == (["random 50 % ↑ 54,775"] if axes.get_ylabel() == "perplexity" else [])


def test_where_all_sizes_are_alike_labels_have_room_at_both_sides_of_the_points(tmp_path):
    grid = tuple(entry for entry in FEW if entry[0] in ("dense", "random", "wanda"))
    tables = report_tables(write_mixed_study(tmp_path, models=("alpha",), items=40, grid=grid))
    assert {row.size_ratio for row in tables.frontier.rows} == {1.0}
    panels = [axes for axes in draw(FRONTIER, tables).axes if axes.get_xlabel().startswith("size")]
    assert {axes.get_xlim() for axes in panels} == {(0.0, 2.0)}


def test_the_section_holds_every_configuration_and_its_own_figure(tables):
    svg = render(draw(FRONTIER, tables), "svg")
    html = frontier_section(tables, [DrawnFigure(FRONTIER, svg, svg)])
    assert html.count('id="figure-frontier"') == 1
    frontier, changing = html.split("Items that change")
    assert frontier.count("<tr") == 2 * (1 + len(MIXED))
    assert changing.count("measured here") == 2 * (len(MIXED) - 1)
    for label, row in by_label(tables).items():
        bold = f'<td class="best">{re.escape(label)}</td>'
        assert bool(re.search(bold, frontier.split("<h3>beta")[0])) == (row["standing"] == "undominated")


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_every_row_and_column_whatever_its_width(tables, width):
    out = io.StringIO()
    screen = Console(width=width, file=out)
    screen.print(frontier_table(tables["frontier"].rows))
    screen.print(FRONTIER_LEGEND)
    assert "…" not in out.getvalue()
    for heading in (
        "version",
        "gone",
        "size",
        "time",
        "ppl",
        "SRS",
        "USR",
        "anti",
        "bias",
        "emerg.",
        "dominated",
    ):
        assert heading in out.getvalue()
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    for label in by_label(tables):
        assert sum(line.strip().startswith(f"{label} ") for line in lines) >= 2
    assert any("nothing" in line for line in lines)


def test_the_words_for_what_was_done_follow_the_methods(tables, tmp_path):
    assert "compressed" in find(tables).headline
    grid = tuple(entry for entry in FEW if entry[0] in ("dense", "wanda"))
    pruned = report_tables(write_mixed_study(tmp_path, models=("alpha",), items=30, grid=grid))
    assert "pruned" in find(pruned).headline
    # Of removed neurons and quantized weights the target is no share of zeros, so none was missed.
    assert "Targets are not" not in find(tables).paragraph
