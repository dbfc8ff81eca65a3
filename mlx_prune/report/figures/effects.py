"""Figures that take effects apart: abstention and direction, emergence and its null, sampling, time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlx_prune.report.figures.panels import (
    Tables,
    configuration_panels,
    draw_answered,
    few,
    number,
    shared_legend,
    whisker,
    zero_line,
)
from mlx_prune.report.figures.style import (
    AMBER,
    GREEN,
    INK,
    MUTED,
    PAPER,
    VERMILION,
    Layout,
    method_style,
    new_figure,
)
from mlx_prune.report.tables.rows import number_or_nan
from mlx_prune.report.tables.table import Row
from mlx_prune.stats.rates import OVERALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def direction(tables: Tables, layout: Layout) -> Figure | None:
    """Change of SRS split into lost abstention and directional bias."""
    rows = tables["direction"].where(category=OVERALL).rows
    if not rows:
        return None
    figure, panels = configuration_panels(layout, rows, row_height=0.27)
    for axes, mine in panels:
        zero_line(axes)
        for column, tone, shift, label in (
            ("abstention_part", AMBER, -0.19, "lost abstention"),
            ("direction_part", GREEN, 0.19, "directional bias"),
        ):
            widths = [number(row[column]) or 0.0 for row in mine]
            places = [place + shift for place in range(len(mine))]
            axes.barh(places, widths, 0.34, color=tone.light, label=label)
            for place, row in zip(places, mine, strict=True):
                whisker(axes, row, column, place, INK.light)
        axes.set_xlabel("part of the change of SRS")
    shared_legend(figure)
    return figure


def emergence(tables: Tables, layout: Layout) -> Figure | None:
    """Emergence of fresh answers after pruning against the dense model asked again."""
    rows = tables["emergence"].rows
    if not rows:
        return None
    figure, panels = configuration_panels(layout, rows)
    for axes, mine in panels:
        for place, row in enumerate(mine):
            _emergence_pair(axes, row, place - 0.16, ("null", "expected"), "o", "fresh answers")
            _emergence_pair(
                axes, row, place + 0.16, ("held_out_null", "held_out"), "^", "one held-out answer"
            )
        axes.set_xlabel("% of unbiased items")
    panels[0][0].set_xlim(left=0)
    shared_legend(figure)
    return figure


def _emergence_pair(
    axes: Axes, row: Row, place: float, columns: tuple[str, str], marker: str, asked: str
) -> None:
    before, after = (100 * number_or_nan(row[column]) for column in columns)
    axes.plot([before, after], [place] * 2, color=MUTED.light, linewidth=1)
    for share, fill, who in ((before, PAPER.light, "dense"), (after, VERMILION.light, "compressed")):
        (point,) = axes.plot([share], [place], marker, color=VERMILION.light, label=f"{who}, {asked}")
        point.set_markerfacecolor(fill)


def sampled_against_expected(tables: Tables, layout: Layout) -> Figure | None:
    """Sampled SRS against the one expected from option probabilities."""
    rows = [
        row
        for row in tables["expected"].rows
        if number(row["srs"]) is not None and number(row["srs_expected"]) is not None
    ]
    if not rows:
        return None
    figure = new_figure(layout, 4.0)
    if layout.columns > 1:
        figure.set_size_inches(5.4, 4.6)
    axes = figure.subplots()
    for row in rows:
        style = method_style(str(row["prune_method"]))
        overall = row["category"] == OVERALL
        if few(row):
            draw_answered(axes, [row], _at if overall else lambda _: (None, None))
            continue
        look = style.points() | {"linestyle": "none", "markersize": 6.5 if overall else 3.5}
        look |= {"alpha": 1.0 if overall else 0.55, "label": str(row["prune_method"]) if overall else "_"}
        axes.plot([number_or_nan(row["srs_expected"])], [number_or_nan(row["srs"])], **look)
    reach = max(*axes.get_xlim(), *axes.get_ylim())
    axes.plot([0, reach], [0, reach], color=INK.light, linewidth=0.9)
    axes.set_xlim(0, reach)
    axes.set_ylim(0, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("SRS expected from option probabilities")
    axes.set_ylabel("SRS of the sampled answers")
    shared_legend(figure)
    return figure


def _at(row: Row) -> tuple[float | None, float | None]:
    return number(row["srs_expected"]), number(row["srs"])


def latency_ratios(tables: Tables, layout: Layout) -> Figure | None:
    """Time of an answer as a multiple of dense."""
    rows = [row for row in tables["latency_ratios"].rows if number(row["ratio"]) is not None]
    if not rows:
        return None
    figure, panels = configuration_panels(layout, rows)
    for axes, mine in panels:
        zero_line(axes, 1.0)
        for place, row in enumerate(mine):
            style = method_style(str(row["prune_method"]))
            ends = [number_or_nan(row["low"]), number_or_nan(row["high"])]
            axes.plot(ends, [place] * 2, color=style.color, linewidth=1.4)
            axes.plot([number_or_nan(row["ratio"])], [place], **style.points(row["pattern"]))
        axes.set_xlabel("time of an answer, dense = 1")
    return figure
