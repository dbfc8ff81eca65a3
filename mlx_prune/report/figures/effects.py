"""Figures that take effects apart: abstention and direction, emergence and its null, sampling, time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlx_prune.report.figures.panels import (
    configuration_panels,
    draw_answered,
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
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.rates import Expected
from mlx_prune.report.tables.rows import number_or_nan
from mlx_prune.stats.rates import OVERALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def direction(tables: Tables, layout: Layout) -> Figure:
    """Change of SRS split into lost abstention and directional bias."""
    rows = tables.direction.where(category=OVERALL).rows
    figure, panels = configuration_panels(layout, rows, row_height=0.27)
    for axes, mine in panels:
        zero_line(axes)
        lost, directional = ([row.abstention_part for row in mine], [row.direction_part for row in mine])
        for parts, tone, shift, label in (
            (lost, AMBER, -0.19, "lost abstention"),
            (directional, GREEN, 0.19, "directional bias"),
        ):
            places = [place + shift for place in range(len(mine))]
            widths = [part.value or 0.0 for part in parts]
            axes.barh(places, widths, 0.34, color=tone.light, label=label)
            for place, part in zip(places, parts, strict=True):
                whisker(axes, part, place, INK.light)
        axes.set_xlabel("part of the change of SRS")
    shared_legend(figure)
    return figure


def emergence(tables: Tables, layout: Layout) -> Figure:
    """Emergence of fresh answers after pruning against the dense model asked again."""
    figure, panels = configuration_panels(layout, tables.emergence.rows)
    for axes, mine in panels:
        for place, row in enumerate(mine):
            _emergence_pair(axes, place - 0.16, (row.null, row.expected), "o", "fresh answers")
            held_out = row.held_out_null, row.held_out
            _emergence_pair(axes, place + 0.16, held_out, "^", "one held-out answer")
        axes.set_xlabel("% of unbiased items")
    panels[0][0].set_xlim(left=0)
    shared_legend(figure)
    return figure


def _emergence_pair(
    axes: Axes, place: float, shares: tuple[float | None, float | None], marker: str, asked: str
) -> None:
    before, after = (100 * number_or_nan(share) for share in shares)
    axes.plot([before, after], [place] * 2, color=MUTED.light, linewidth=1)
    for share, fill, who in ((before, PAPER.light, "dense"), (after, VERMILION.light, "compressed")):
        (point,) = axes.plot([share], [place], marker, color=VERMILION.light, label=f"{who}, {asked}")
        point.set_markerfacecolor(fill)


def sampled_against_expected(tables: Tables, layout: Layout) -> Figure | None:
    """Sampled SRS against the one expected from option probabilities."""
    rows = [row for row in tables.expected.rows if None not in _at(row)]
    if not rows:
        return None
    figure = new_figure(layout, 4.0)
    if layout.columns > 1:
        figure.set_size_inches(5.4, 4.6)
    axes = figure.subplots()
    for row in rows:
        method = row.configuration.prune_method
        overall = row.category == OVERALL
        if row.too_few_answered:
            draw_answered(axes, [row] if overall else [], _at)
            continue
        look = method_style(method).points() | {"linestyle": "none"}
        # A method may have single categories alone.
        axes.plot([], [], **look, label=method)
        look |= {"alpha": 1.0, "markersize": 6.5} if overall else {"alpha": 0.55, "markersize": 3.5}
        axes.plot([number_or_nan(row.srs_expected)], [number_or_nan(row.srs)], **look, label="_")
    reach = max(*axes.get_xlim(), *axes.get_ylim())
    axes.plot([0, reach], [0, reach], color=INK.light, linewidth=0.9)
    axes.set_xlim(0, reach)
    axes.set_ylim(0, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("SRS expected from option probabilities")
    axes.set_ylabel("SRS of the sampled answers")
    shared_legend(figure)
    return figure


def _at(row: Expected) -> tuple[float | None, float | None]:
    return row.srs_expected, row.srs


def latency_ratios(tables: Tables, layout: Layout) -> Figure | None:
    """Time of an answer as a multiple of dense."""
    rows = [row for row in tables.latency_ratios.rows if row.ratio.value is not None]
    if not rows:
        return None
    figure, panels = configuration_panels(layout, rows)
    for axes, mine in panels:
        zero_line(axes, 1.0)
        for place, row in enumerate(mine):
            style = method_style(row.configuration.prune_method)
            ends = [number_or_nan(row.ratio.low), number_or_nan(row.ratio.high)]
            axes.plot(ends, [place] * 2, color=style.color, linewidth=1.4)
            axes.plot([number_or_nan(row.ratio.value)], [place], **style.points(row.configuration.pattern))
        axes.set_xlabel("time of an answer, dense = 1")
    return figure
