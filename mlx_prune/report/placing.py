"""Where labels of points go so that no text lies on other text or on a point; plain geometry, no drawing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
# Beside, above and below a point first, then its corners.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


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

    def overlap(self, other: Box) -> float:
        """Area in common."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def inside(self, other: Box) -> bool:
        """Whether the other holds all of it."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


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
    its point. Where no place in the room is free the one with the least overlap is taken.

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
        taken = [*obstacles, *found.values()]
        best, least = None, math.inf
        for box, cost in _candidates(points[number], sizes[number], reach):
            if cost >= least:
                continue
            hidden = sum(box.overlap(other) for other in taken)
            area = sizes[number][0] * sizes[number][1]
            cost += 1e6 * hidden / area + (0.0 if box.inside(room) else 1e7)
            cost += 4 * reach * sum(box.overlap(other) > 0 for other in faint)
            if cost < least:
                best, least = box, cost
        assert best is not None
        found[number] = best
    return [found[number] for number in range(len(points))]


def _candidates(point: Point, size: Point, reach: float) -> Iterator[tuple[Box, float]]:
    """Boxes around a point and their cost, in rings of growing distance."""
    width, height = size
    for ring in range(24):
        away = reach + ring * 0.6 * height
        directions = _DIRECTIONS if ring == 0 else _around(16)
        for preference, (right, up) in enumerate(directions):
            center = point[0] + right * (away + width / 2), point[1] + up * (away + height / 2)
            yield Box.around(center, width, height), ring * height + 0.01 * preference * height


def _around(count: int) -> list[Point]:
    return [(math.cos(math.tau * n / count), math.sin(math.tau * n / count)) for n in range(count)]
