"""Where labels of points go so that no text lies on other text or on a point; plain geometry, no drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float]
# Beside, above and below a point first, then its corners.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_CIRCLE = tuple((math.cos(math.tau * n / 16), math.sin(math.tau * n / 16)) for n in range(16))
_RINGS = 24
# Of every place that a label may have: its ring, its place in this, and the direction from the point.
_PLACES = [
    (ring, preference, towards)
    for ring in range(_RINGS)
    for preference, towards in enumerate(_CIRCLE if ring else _DIRECTIONS)
]
_RING, _PREFERENCE, _TOWARDS = (np.array(parts, np.float64) for parts in zip(*_PLACES, strict=True))


@dataclass(frozen=True)
class Box:
    """A rectangle by its edges; y grows upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @staticmethod
    def around(center: Point, width: float, height: float) -> Box:
        """A rectangle by its center and size."""
        x, y = center
        return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def center(self) -> Point:
        """Its middle."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2


def place_labels(
    points: Sequence[Point],
    sizes: Sequence[Point],
    room: Box,
    obstacles: Sequence[Box],
    *,
    reach: float,
    faint: Sequence[Box] = (),
) -> list[Box]:
    """Choose a box for the label of every point.

    Labels are placed one after the other, those of crowded points first, each at the free place nearest to
    its point, and rather not nearer to an obstacle than to its point. Where no place in the room is free the
    one with the least overlap is taken.

    Args:
        points: Where the labeled points are, in any unit.
        sizes: Width and height of their labels.
        room: What no label should leave.
        obstacles: What no label should touch, such as the points' markers.
        reach: Distance from a point to the edge of a label beside it.
        faint: What labels had better not touch, such as whiskers.

    Returns:
        One box per point.
    """

    def crowd(number: int) -> int:
        x, y = points[number]
        near = 4 * max(sizes[number])
        return -sum(math.hypot(x - other[0], y - other[1]) < near for other in points)

    found: dict[int, Box] = {}
    for number in sorted(range(len(points)), key=crowd):
        boxes, cost = _candidates(points[number], sizes[number], reach)
        hidden = _overlaps(boxes, [*obstacles, *found.values()]).sum(axis=1)
        cost += 1e6 * hidden / (sizes[number][0] * sizes[number][1])
        cost += 4 * reach * (_overlaps(boxes, faint) > 0).sum(axis=1)
        mine = _distances(boxes, [points[number]])
        cost += 3 * reach * (_distances(boxes, [box.center for box in obstacles]) < mine).sum(axis=1)
        low, high = boxes[:, :2], boxes[:, 2:]
        leaves = (low < (room.left, room.bottom)) | (high > (room.right, room.top))
        cost += 1e9 * leaves.any(axis=1)
        found[number] = Box(*map(float, boxes[int(np.argmin(cost))]))
    return [found[number] for number in range(len(points))]


def _candidates(point: Point, size: Point, reach: float) -> tuple[Floats, Floats]:
    """Boxes around a point as rows of edges, and their cost, in rings of growing distance."""
    half, height = np.array(size) / 2, size[1]
    away = reach + _RING[:, None] * 0.6 * height
    centers = np.array(point) + _TOWARDS * (away + half)
    return np.hstack([centers - half, centers + half]), (_RING + 0.01 * _PREFERENCE) * height


def _distances(boxes: Floats, places: Sequence[Point]) -> Floats:
    """Distance of every box (rows) from every place."""
    to = np.array(places).reshape(-1, 2)
    (left, bottom, right, top), (x, y) = boxes.T[:, :, None], to.T[:, None]
    across, up = np.maximum(left - x, x - right), np.maximum(bottom - y, y - top)
    return np.asarray(np.hypot(np.maximum(across, 0.0), np.maximum(up, 0.0)))


def _overlaps(boxes: Floats, others: Sequence[Box]) -> Floats:
    """Area in common of every box (rows) with every other."""
    edges = np.array([(one.left, one.bottom, one.right, one.top) for one in others]).reshape(-1, 4)
    (left, bottom, right, top), (x0, y0, x1, y1) = boxes.T[:, :, None], edges.T[:, None]
    across, up = np.minimum(right, x1) - np.maximum(left, x0), np.minimum(top, y1) - np.maximum(bottom, y0)
    return np.asarray(np.maximum(across, 0.0) * np.maximum(up, 0.0))
