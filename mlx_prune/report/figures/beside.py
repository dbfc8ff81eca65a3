"""Small texts beside points: where no other text, no marker and, as far as can be, no line is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlx_prune.report.figures.placing import Box, place_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

# Points: of a marker, between a point and its text, and of the pieces of a slanting line.
_MARKER, _REACH, _PIECE = 6.0, 4.0, 8.0
# By which what is written here is known; what begins so is in no legend.
_NAME = "_beside a point"


def write_beside(axes: Axes, text: str, at: tuple[float, float], color: str, size: float = 6.0) -> None:
    """Write a few letters of so many points beside a point; :func:`move_apart` finds their place."""
    written = axes.annotate(
        text,
        at,
        (0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        color=color,
        label=_NAME,
    )
    # They stay in the panel, and so ask for no room around it.
    written.set_in_layout(False)


def move_apart(figure: Figure) -> None:
    """Give the texts of every panel of a laid out figure their places."""
    from matplotlib.text import Annotation

    for axes in figure.axes:
        found = (text for text in axes.texts if isinstance(text, Annotation))
        texts = [text for text in found if text.get_label() == _NAME]
        if texts:
            _move(axes, texts, figure.dpi / 72)


def _move(axes: Axes, texts: Sequence[Annotation], unit: float) -> None:
    """The same for one panel, of so many pixels per point."""
    markers: list[Box] = []
    lines: list[Box] = []
    for line in axes.lines:
        points = line.get_transform().transform(line.get_xydata())
        points = points[np.isfinite(points).all(axis=1)]
        if line.get_marker() != "None":
            markers += [Box.around((x, y), _MARKER * unit, _MARKER * unit) for x, y in points.tolist()]
        if line.get_linestyle() != "None":
            lines += _covers(points, _PIECE * unit, unit / 2)
    edge = axes.get_window_extent()
    at = [axes.transData.transform(text.xy).tolist() for text in texts]
    # As wide as in the widest font that a page may choose, and digits are wider than letters.
    ems = [(0.6 * len(text.get_text()) + 0.2, float(text.get_fontsize()) * unit) for text in texts]
    sizes = [(letters * em, 1.25 * em) for letters, em in ems]
    room = Box(edge.x0, edge.y0, edge.x1, edge.y1)
    boxes = place_labels(at, sizes, room, markers, reach=_REACH * unit, faint=lines)
    for text, (x, y), box in zip(texts, at, boxes, strict=True):
        text.set_position(((box.center[0] - x) / unit, (box.center[1] - y) / unit))


def _covers(points: NDArray[np.float64], piece: float, half: float) -> list[Box]:
    """Boxes that hold a line: one for a piece that is upright or level, several for one that is neither."""
    found = []
    for start, end in itertools.pairwise(points):
        count = max(1, math.ceil(float(np.abs(end - start).min()) / piece))
        stops = np.linspace(start, end, count + 1)
        low, high = np.minimum(stops[:-1], stops[1:]) - half, np.maximum(stops[:-1], stops[1:]) + half
        found += [Box(*edges) for edges in np.hstack([low, high]).tolist()]
    return found
