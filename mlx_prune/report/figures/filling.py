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
from matplotlib.transforms import ScaledTranslation
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
            taken, labels = [panel.taken() for panel in panels], [panel.labels() for panel in panels]
            _place(fig, panels, room, taken)
            # A panel that became so much larger or smaller that it has other ticks may have longer labels.
            if ticks == [panel.ticks() for panel in panels]:
                break
        for panel, below_and_left in zip(panels, labels, strict=True):
            panel.keep_labels(*below_and_left)


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
        # What ends where the panel ends takes nothing, and measuring it updates all ticks.
        self.axes.spines[:].set_in_layout(False)
        box, inner = self.axes.get_tightbbox(for_layout_only=True), self.axes.get_window_extent()
        assert box is not None
        reach = inner.x0 - box.x0, inner.y0 - box.y0, box.x1 - inner.x1, box.y1 - inner.y1
        return tuple(beyond / self.axes.figure.dpi for beyond in reach)

    def labels(self) -> tuple[float, float]:
        """How far above its lower and right of its left edge the labels of the axes are, in inches."""
        inner, axes = self.axes.get_window_extent(), (self.axes.xaxis, self.axes.yaxis)
        (_, y), (x, _) = (one.label.get_transform().transform(one.label.get_position()) for one in axes)
        return (y - inner.y0) / self.axes.figure.dpi, (x - inner.x0) / self.axes.figure.dpi

    def keep_labels(self, up: float, right: float) -> None:
        """Fix them there; left to itself, Matplotlib measures all ticks to place them anew for each file.

        A label that is longer than a narrow panel begins further left, lest the figure's edge cut it off.
        """
        figure, inches = self.axes.figure, self.axes.figure.dpi_scale_trans
        inner, label = self.axes.get_window_extent(), self.axes.xaxis.label.get_window_extent()
        right_end = ((inner.x0 + inner.x1 + label.width) / 2) / figure.dpi
        beyond: float = max(0.0, right_end + _EDGE - figure.bbox.width / figure.dpi)
        for axis, at, away in (
            (self.axes.xaxis, (0.5, 0.0), (-beyond, up)),
            (self.axes.yaxis, (0.0, 0.5), (right, 0.0)),
        ):
            axis.set_label_coords(*at, transform=self.axes.transAxes + ScaledTranslation(*away, inches))


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
