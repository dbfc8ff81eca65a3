"""Labels lie on no other label and on no point wherever there is room, and near what they name."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_prune.report.figures.placing import Box, place_labels

ROOM = Box(0.0, 0.0, 400.0, 250.0)
POINTS = st.tuples(st.floats(10, 390), st.floats(10, 240))


def overlap(one, other):
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.top, other.top) - max(one.bottom, other.bottom)
    return max(width, 0.0) * max(height, 0.0)


def inside(box):
    return box.left >= 0 and box.bottom >= 0 and box.right <= ROOM.right and box.top <= ROOM.top


def placed(points, width=60.0, faint=()):
    obstacles = [Box.around(point, 8, 8) for point in points]
    return place_labels(points, [(width, 10.0)] * len(points), ROOM, obstacles, reach=6, faint=faint)


@settings(max_examples=60, deadline=None)
@given(st.lists(POINTS, min_size=1, max_size=12))
def test_no_label_lies_on_a_label_or_a_point(points):
    boxes = placed(points)
    for number, box in enumerate(boxes):
        assert inside(box)
        assert all(overlap(box, other) == 0 for other in boxes[:number])
        assert all(overlap(box, Box.around(point, 8, 8)) < 1e-6 for point in points)


@given(st.lists(POINTS, min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_the_same_points_get_the_same_places(points):
    assert placed(points) == placed(points)


def test_a_lonely_label_stands_right_beside_its_point():
    (box,) = placed([(200.0, 120.0)])
    assert box == Box(206.0, 115.0, 266.0, 125.0)


def test_a_label_at_the_edge_stays_inside():
    (box,) = placed([(395.0, 120.0)])
    assert box.right < 395


def test_whiskers_are_avoided_where_another_side_is_free():
    whisker = Box(199.0, 119.0, 300.0, 121.0)
    (box,) = placed([(200.0, 120.0)], faint=[whisker])
    assert overlap(box, whisker) == 0
    assert math.dist(box.center, (200.0, 120.0)) < 60


def test_a_label_is_nearest_to_its_own_point_where_it_can_be():
    points = [(200.0, 120.0), (210.0, 134.0), (190.0, 106.0)]
    for point, box in zip(points, placed(points, width=40.0), strict=True):
        gaps = [
            math.hypot(max(box.left - x, x - box.right, 0), max(box.bottom - y, y - box.top, 0))
            for x, y in points
        ]
        assert points[gaps.index(min(gaps))] == point


def test_without_any_room_every_label_still_has_a_place():
    points = [(float(x), float(y)) for x in range(20, 400, 50) for y in range(10, 250, 24)]
    assert len(placed(points, width=200.0)) == len(points)
