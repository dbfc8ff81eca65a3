"""What figures share: panels and their legend, configurations as rows, shares of answers understood."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from mlx_prune import words
from mlx_prune.kinds import removes_weights
from mlx_prune.report.figures.beside import write_beside
from mlx_prune.report.figures.style import (
    GRID,
    INK,
    MUTED,
    VERMILION,
    Layout,
    new_figure,
    plain_numbers,
)
from mlx_prune.report.tables.rows import Configured, Rated, by_model, number_or_nan
from mlx_prune.report.tables.table import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Band = tuple[float, float]
R = TypeVar("R", bound=Rated)
C = TypeVar("C", bound=Configured)
PlaceOf = Callable[[R], tuple[float | None, float | None]]

# Inches of one row of a legend, and the share of a figure's height that a legend has without asking.
_LEGEND_ROW, _LEGEND_SHARE = 0.18, 0.4
TOO_FEW = "too few answers"
# What too few answers are behind.
HATCHED: dict[str, Any] = {"edgecolor": GRID.light, "hatch": "////", "linewidth": 0}
# Shares of understood answers from here on are not written beside points.
_MOST_ANSWERED = 0.9
# Beyond this ratio of the largest to the smallest value an axis of factors is logarithmic.
_WIDE_RANGE = 3.0


def with_actual(row: Configured) -> str:
    """The configuration's label; the actual sparsity is added where it misses the target by over a point.

    The target of removed neurons or blocks is a share of these, and what is added the share of weights.
    """
    configuration, actual = row.configuration, row.actual_sparsity
    missed = actual is not None and abs(actual - configuration.sparsity) > 1
    if not missed or not configuration.sparsity:
        return configuration.name
    share = words.percentage(actual, 0)
    removed = removes_weights(configuration.prune_method)
    return f"{configuration.name} ({f'{share} of weights' if removed else f'is {share}'})"


def answered_text(row: Rated, below: float = _MOST_ANSWERED) -> str:
    """Percent of the answers that were understood, for a label; empty where nearly all were."""
    return "" if row.answered is None or row.answered >= below else words.percent(row.answered, 0)


def draw_answered(axes: Axes, rows: Iterable[R], place: PlaceOf[R]) -> None:
    """Write beside each point how many of its answers were understood, and cross out those of too few.

    Args:
        axes: Where the points are.
        rows: One per point.
        place: Where a row's point is; None along an axis for none.
    """
    for row in rows:
        x, y = place(row)
        if x is None or y is None:
            continue
        if row.too_few_answered:
            look: dict[str, Any] = {
                "color": MUTED.light,
                "markersize": 5,
                "linestyle": "none",
                "clip_on": False,
            }
            axes.plot([x], [y], marker="x", label=TOO_FEW, **look)
        if text := answered_text(row):
            write_beside(axes, text, (x, y), MUTED.light)


def panel_grid(
    layout: Layout, titles: Sequence[str], height: float, *, columns: int | None = None, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel per entry, filled row by row.

    Args:
        layout: The room.
        titles: One per panel; long ones are wrapped.
        height: Inches per row of panels.
        columns: Panels side by side, if not the layout's own number.
        **shared: ``sharex`` and ``sharey`` as in ``Figure.subplots``.
    """
    across = min(columns or layout.columns, len(titles))
    down = math.ceil(len(titles) / across)
    # A single panel over the whole width would be all air.
    room = layout if across > 1 or layout.columns == 1 else replace(layout, width=0.64 * layout.width)
    figure = new_figure(room, height * down + 0.55)
    grid = figure.subplots(down, across, squeeze=False, **shared).ravel()
    letters = int(room.width / across * 12)
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title("\n".join(textwrap.wrap(title, letters, break_long_words=True)))
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    # With a shared axis only the last row is labeled, which here may be an empty place.
    for axes in grid[len(titles) - across : len(titles)]:
        axes.tick_params(labelbottom=True)
    return figure, list(grid[: len(titles)])


def configuration_panels(
    layout: Layout, rows: Sequence[C], *, row_height: float = 0.24
) -> tuple[Figure, list[tuple[Axes, list[C]]]]:
    """A panel per model with one configuration on each line of the y axis, methods set apart.

    Returns:
        The figure, and each panel with the rows it shows, from the top.
    """
    groups = by_model(rows)
    most = max(len(group) for group in groups.values())
    # Long labels need room beside them.
    across = 2 if layout.columns > 2 and max(len(with_actual(row)) for row in rows) > 20 else layout.columns
    figure, panels = panel_grid(layout, list(groups), 0.9 + row_height * most, columns=across, sharex=True)
    for axes, group in zip(panels, groups.values(), strict=True):
        axes.set_yticks(range(len(group)), [with_actual(row) for row in group])
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.locator_params(axis="x", nbins=6 if layout.columns > 1 else 4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _answered_column(axes, group)
        for place in range(1, len(group)):
            above, below = (row.configuration.group for row in group[place - 1 : place + 1])
            if above != below:
                axes.axhline(place - 0.5, color=GRID.light, linewidth=0.8)
    return figure, list(zip(panels, groups.values(), strict=True))


def _answered_column(axes: Axes, rows: Sequence[Configured]) -> None:
    """How many answers were understood, at the right of each line; lines of too few are hatched."""
    rated = [row for row in rows if isinstance(row, Rated)]
    if not rated:
        return
    beside: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "va": "center",
        "fontsize": 7,
        "annotation_clip": False,
    }
    for place, row in enumerate(rated):
        color = VERMILION.light if row.too_few_answered else MUTED.light
        axes.annotate(answered_text(row, 2.0), (1.02, place), color=color, **beside)
        if row.too_few_answered:
            axes.axhspan(place - 0.5, place + 0.5, zorder=0, facecolor="none", **HATCHED)
    axes.annotate("answered", (1.02, -0.85), color=MUTED.light, **beside)


def whisker(axes: Axes, found: Interval, place: float, color: str) -> None:
    """A horizontal line over an interval; nothing where there is none."""
    ends = [number_or_nan(found.low), number_or_nan(found.high)]
    axes.plot(ends, [place] * 2, color=color, linewidth=1.4, solid_capstyle="butt")


def zero_line(axes: Axes, at: float = 0.0) -> None:
    """No change."""
    axes.axvline(at, color=INK.light, linewidth=0.9)


def scale_of_factors(axis: Axis, values: Sequence[float]) -> None:
    """A logarithmic axis where values differ by factors, with ticks at 1, 2 and 5 in plain numbers."""
    from matplotlib.ticker import LogLocator

    if max(values) <= _WIDE_RANGE * min(values):
        return
    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    plain_numbers(axis)


def shared_legend(figure: Figure) -> None:
    """One legend above all panels."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if TOO_FEW in found:  # after all methods, though the first panel may lack some
        found[TOO_FEW] = found.pop(TOO_FEW)
    letters = max(len(label) for label in found)
    columns = max(1, min(len(found), int(figure.get_figwidth() * 11 / (letters + 7))))
    # What a long legend takes beyond this share of the height is added, or no room is left for the panels.
    height, needed = figure.get_figheight(), _LEGEND_ROW * math.ceil(len(found) / columns)
    figure.set_figheight(height + max(0.0, needed - _LEGEND_SHARE * height))
    figure.legend(list(found.values()), list(found), loc="outside upper left", ncols=columns)
