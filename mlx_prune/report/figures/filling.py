"""How the panels of a figure fill it: measured once, which Matplotlib's constrained layout does twice.

Imported only where a figure is made, since it needs Matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.transforms import Bbox, BboxBase, ScaledTranslation
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Inches: along the figure's edges, and between what belongs to neighboring panels.
_EDGE, _GAP = 0.05, 0.12
# Inches left of a panel, below, right and above before anything is measured.
_USUAL = (0.6, 0.38, 0.1, 0.25)
# All panels together are no smaller than this share of the figure, whatever their labels take.
_LEAST = 0.1


class Filling(LayoutEngine):
    """Panels of one grid share what their labels, the figure's texts and its legend above them leave.

    Panels of a column have the same left and right edges, those of a row the same upper and lower ones;
    widths and heights are in the grid's ratios.
    """

    _adjust_compatible = False
    _colorbar_gridspec = False

    def execute(self, fig: Figure) -> None:
        """Give every visible panel its place."""
        panels = [_Panel.of(axes) for axes in fig.axes if axes.get_visible()]
        room = _room(fig)
        _place(fig, panels, room, [_USUAL] * len(panels))
        for _ in range(2):
            ticks = [panel.ticks() for panel in panels]
            _place(fig, panels, room, [panel.taken() for panel in panels])
            # A panel that became so much larger or smaller that it has other ticks may have longer labels.
            if ticks == [panel.ticks() for panel in panels]:
                break
        for panel in panels:
            panel.show_label()


@dataclass(frozen=True)
class _Panel:
    """A panel, its column and its row, and the ratios of all columns' widths and all rows' heights."""

    axes: Axes
    column: int
    row: int
    widths: Sequence[float]
    heights: Sequence[float]

    @staticmethod
    def of(axes: Axes) -> _Panel:
        place = axes.get_subplotspec()
        assert place is not None
        grid = place.get_gridspec()
        # Ratios are sequences, whatever Matplotlib's types allow to be set.
        widths, heights = np.asarray(grid.get_width_ratios()), np.asarray(grid.get_height_ratios())
        return _Panel(axes, place.colspan.start, place.rowspan.start, widths.tolist(), heights.tolist())

    def ticks(self) -> tuple[list[float], list[float]]:
        axes = self.axes
        return _located(axes.xaxis), _located(axes.yaxis)

    def taken(self) -> tuple[float, ...]:
        """How far labels and titles reach beyond the panel: left, below, right and above, in inches."""
        axes = self.axes
        # What ends where the panel ends takes nothing, and measuring it updates all ticks.
        axes.spines[:].set_in_layout(False)
        axes.apply_aspect()
        boxes = [box for axis in (axes.xaxis, axes.yaxis) for box in _boxes(axis)]
        axes.set_axis_off()
        rest, inner = axes.get_tightbbox(for_layout_only=True), axes.get_window_extent()
        axes.set_axis_on()
        assert rest is not None
        box = Bbox.union([rest, *boxes])
        reach = inner.x0 - box.x0, inner.y0 - box.y0, box.x1 - inner.x1, box.y1 - inner.y1
        return tuple(beyond / axes.figure.dpi for beyond in reach)

    def show_label(self) -> None:
        """Move a label that is longer than a narrow panel left, lest the figure's edge cut it off."""
        figure, label = self.axes.figure, self.axes.xaxis.label
        inner = self.axes.get_window_extent()
        end = (inner.x0 + inner.x1 + label.get_window_extent().width) / 2 / figure.dpi
        beyond: float = end + _EDGE - figure.bbox.width / figure.dpi
        if beyond > 0:
            left = ScaledTranslation(-beyond, 0.0, figure.dpi_scale_trans)
            label.set_transform(label.get_transform() + left)


def _boxes(axis: Axis) -> Sequence[BboxBase]:
    """What the texts of a lower or left axis take, of its label only the way from the panel.

    The label gets its place for good, where Matplotlib would put it: left to itself, Matplotlib measures all
    ticks once more to place it, here and for each file.
    """
    axes, label, factor = axis.axes, axis.label, axis.offsetText
    seen = [text for text in (label, factor) if text.get_visible()]
    _fix_label(axis, 0.0)
    for text in seen:
        text.set_visible(False)
    numbers = axis.get_tightbbox()
    for text in seen:
        text.set_visible(True)
    sideways = axis is axes.yaxis
    inner = axes.get_window_extent()
    # Numbers begin beyond the ticks.
    edge = numbers or axes.spines["left" if sideways else "bottom"].get_window_extent()
    away = edge.x0 - inner.x0 if sideways else edge.y0 - inner.y0
    _fix_label(axis, away / axes.figure.dpi - axis.labelpad / 72)
    found = [] if numbers is None else [numbers]
    if factor in seen and factor.get_text():
        found.append(factor.get_window_extent())
    if label in seen and label.get_text():
        (x0, y0), (x1, y1) = label.get_window_extent().get_points()
        beyond = (x0, inner.y0, x1, inner.y1) if sideways else (inner.x0, y0, inner.x1, y1)
        found.append(Bbox.from_extents(*beyond))
    return found


def _fix_label(axis: Axis, away: float) -> None:
    """Fix the label of an axis so many inches right of the panel's left edge or above its lower one."""
    axes, inches = axis.axes, axis.axes.figure.dpi_scale_trans
    at, moved = ((0.0, 0.5), (away, 0.0)) if axis is axes.yaxis else ((0.5, 0.0), (0.0, away))
    axis.set_label_coords(*at, transform=axes.transAxes + ScaledTranslation(*moved, inches))


def _room(figure: Figure) -> tuple[float, float, float, float]:
    """Left, lower, right and upper edge of what the figure's own texts and legends leave, in inches."""
    left, bottom, (right, top) = 0.0, 0.0, figure.get_size_inches()
    for text in figure.texts:
        # The labels of all panels' axes; the upright one stands at the left.
        box = text.get_window_extent()
        if text.get_rotation():
            left = max(left, box.x1 / figure.dpi)
        else:
            bottom = max(bottom, box.y1 / figure.dpi)
    for legend in figure.legends:
        top = min(top, legend.get_window_extent().y0 / figure.dpi - _EDGE)
    return left + _EDGE, bottom + _EDGE, right - _EDGE, top - _EDGE


def _place(
    figure: Figure,
    panels: Sequence[_Panel],
    room: tuple[float, float, float, float],
    taken: Sequence[tuple[float, ...]],
) -> None:
    """Put panels where they fill the room with what each takes around it."""
    (left, bottom, right, top), first = room, panels[0]
    across, down = len(first.widths), len(first.heights)
    around = [np.zeros(count) for count in (across, down, across, down)]
    for panel, sides in zip(panels, taken, strict=True):
        cells = panel.column, panel.row, panel.column, panel.row
        for side, cell, inches in zip(around, cells, sides, strict=True):
            side[cell] = max(side[cell], inches)
    before, below, after, above = around
    xs = _spans(left, right, before, after, first.widths)
    # Rows are counted from above.
    ys = _spans(-top, -bottom, above, below, first.heights)
    width, height = figure.get_size_inches()
    for panel in panels:
        (x, wide), (y, high) = xs[panel.column], ys[panel.row]
        panel.axes.set_position((x / width, (-y - high) / height, wide / width, high / height))


def _spans(
    start: float, end: float, before: Floats, after: Floats, ratios: Sequence[float]
) -> list[tuple[float, float]]:
    """Start and length of each panel along one direction, with so much room before and after each."""
    count, length = len(ratios), end - start
    free = length - before.sum() - after.sum() - _GAP * (count - 1)
    lengths = np.array(ratios) / sum(ratios) * max(free, _LEAST * length)
    # What stands before a panel moves it and those behind it; what is behind it only those.
    starts = start + np.cumsum(before) + np.concatenate([[0.0], np.cumsum(lengths + after + _GAP)[:-1]])
    return list(zip(starts.tolist(), lengths.tolist(), strict=True))


def _located(axis: Axis) -> list[float]:
    # Some locators tell an array, others a list.
    return [float(place) for place in axis.get_majorticklocs()]
