"""What figures share: panels, the sparsity axis, one line per method, configurations as rows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlx_prune import words
from mlx_prune.kinds import removes_weights
from mlx_prune.labels import DENSE
from mlx_prune.report.figures.style import (
    GRID,
    INK,
    MUTED,
    VERMILION,
    Layout,
    method_style,
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
ValueOf = Callable[[R], float | None]
BandOf = Callable[[R], Band | None]
PlaceOf = Callable[[R], tuple[float | None, float | None]]

CHANCE = 1 / 3
# How far from its line the word "chance" reaches, as a share of answers.
_CHANCE_ROOM = 0.05
# Inches of one row of a legend, and the share of a figure's height that a legend has without asking.
_LEGEND_ROW, _LEGEND_SHARE = 0.18, 0.4
TOO_FEW = "too few answers"
# What too few answers are behind.
HATCHED: dict[str, Any] = {"edgecolor": GRID.light, "hatch": "////", "linewidth": 0}
# Shares of understood answers from here on are not written beside points.
_MOST_ANSWERED = 0.9
# Beyond this ratio of the largest to the smallest value an axis of factors is logarithmic.
_WIDE_RANGE = 3.0
# Points this near along the sparsity axis, in percent, would hide one another.
_NEIGHBORS = 1.5


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


def sparsity_axis(rows: Iterable[Configured]) -> tuple[str, str]:
    """The column to put on the axis and its label: actual sparsity, if every row has it."""
    rows = list(rows)
    if any(row.actual_sparsity is None for row in rows):
        return "sparsity", "target sparsity (%; actual not recorded)"
    if any(removes_weights(row.configuration.prune_method) for row in rows):
        return "actual_sparsity", "weights zero or removed (% of prunable)"
    return "actual_sparsity", "actual sparsity (% of prunable weights)"


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
            offset = (5, 3) if row.too_few_answered else (5, -7)
            axes.annotate(
                text, (x, y), offset, textcoords="offset points", fontsize=6, color=MUTED.light, zorder=1
            )


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


@dataclass(frozen=True)
class Line:
    """One method's points along the sparsity axis; ``bands`` has None where there is no interval."""

    method: str
    pattern: str | None
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    bands: tuple[Band | None, ...]
    joined: bool

    @property
    def label(self) -> str:
        """Method and pattern."""
        return f"{self.method} {self.pattern}" if self.pattern else self.method


def method_lines(rows: Sequence[R], axis: str, value: ValueOf[R], band: BandOf[R]) -> list[Line]:
    """Sort one model's rows into lines; the dense model is one of its own.

    Rows of too few answers are left out; see :func:`draw_answered`. A line begins at dense and joins the
    sparsities of a method. A pattern, a quantization and a method with
    a single sparsity are points, unjoined: a line through one measurement would show what was not measured.
    """
    rows = [row for row in rows if not row.too_few_answered]
    dense = [row for row in rows if row.configuration.is_dense]
    groups: dict[tuple[str, str | None], list[R]] = {(DENSE, None): dense}
    for row in rows:
        if not row.configuration.is_dense:
            name = row.configuration.prune_method, row.configuration.pattern
            groups.setdefault(name, []).append(row)
    lines = []
    for (method, pattern), mine in groups.items():
        joined = method != DENSE and pattern is None and len({row.configuration.sparsity for row in mine}) > 1
        points = []
        for row in (*(dense if joined else []), *mine):
            x, y = row[axis], value(row)
            if x is not None and y is not None:
                points.append((x, y, band(row)))
        points.sort(key=lambda point: point[0])
        if points:
            xs, ys, bands = zip(*points, strict=True)
            lines.append(Line(method, pattern, xs, ys, bands, joined))
    return lines


def draw_lines(axes: Axes, lines: Sequence[Line], **changes: Any) -> None:
    """Draw lines with their intervals; what would hide one another is shifted a little."""
    for line, shift in zip(lines, _shifts(lines), strict=True):
        style = method_style(line.method)
        look = style.points(line.pattern) | {"linestyle": style.line if line.joined else "none"}
        # Where lines meet, the dense model stays in sight.
        look["zorder"] = 3 if line.method == DENSE else 2
        xs = line.xs if line.joined else [x + shift for x in line.xs]
        axes.plot(xs, line.ys, **(look | {"label": line.label} | changes))
        for x, band in zip(line.xs, line.bands, strict=True):
            if band is not None and band[1] > band[0]:
                axes.plot([x + shift] * 2, band, color=style.color, linewidth=1, alpha=0.75)


def _shifts(lines: Sequence[Line]) -> list[float]:
    """How far to move each line's intervals: joined lines among themselves, points among their neighbors."""
    shifts = []
    for line in lines:
        mates = [
            other
            for other in lines
            if other.method != DENSE
            and other.joined == line.joined
            and (line.joined or abs(other.xs[0] - line.xs[0]) <= _NEIGHBORS)
        ]
        place = mates.index(line) if line in mates else (len(mates) - 1) / 2
        shifts.append(min(0.5, 4 / max(len(mates), 1)) * (place - (len(mates) - 1) / 2))
    return shifts


def chance_line(axes: Axes) -> None:
    """Where answering at random would be, named where least of what is drawn already lies."""
    left, right = axes.get_xlim()
    near = dict.fromkeys(((ha, va) for ha in ("left", "right") for va in ("bottom", "top")), 0)
    for x, low, high in _drawn(axes):
        ha = "left" if x < (left + right) / 2 else "right"
        near[ha, "bottom"] += low < CHANCE + _CHANCE_ROOM and high > CHANCE - _CHANCE_ROOM / 2
        near[ha, "top"] += low < CHANCE + _CHANCE_ROOM / 2 and high > CHANCE - _CHANCE_ROOM
    ha, va = min(near, key=lambda place: near[place])
    axes.axhline(CHANCE, color=MUTED.light, linewidth=0.9, linestyle=(0, (2, 3)))
    axes.annotate(
        "chance",
        (0.01 if ha == "left" else 0.99, CHANCE),
        xycoords=("axes fraction", "data"),
        ha=ha,
        va=va,
        fontsize=7.5,
        color=MUTED.light,
    )


def _drawn(axes: Axes) -> Iterator[tuple[float, float, float]]:
    """The place along the x axis of every marker and whisker, and from where to where it reaches."""
    for line in axes.lines:
        xs, ys = (np.asarray(values, np.float64).tolist() for values in line.get_data())
        if len(xs) == 2 and xs[0] == xs[1]:
            yield xs[0], min(ys), max(ys)
        else:
            yield from zip(xs, ys, ys, strict=True)


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
        axes.locator_params(axis="x", nbins=6)
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
