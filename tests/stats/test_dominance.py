"""Dominance is a strict order that never lacks an undominated configuration, whatever the intervals."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.stats.dominance import Cost, Dominance, criteria_in_use, dominance

ENDS = st.integers(0, 6) | st.just(math.inf)


@st.composite
def intervals(draw):
    return Cost(*sorted((float(draw(ENDS)), float(draw(ENDS)))))


@st.composite
def tables(draw, cell=None):
    criteria = draw(st.integers(1, 4))
    row = st.lists(st.none() | intervals() if cell is None else cell, min_size=criteria, max_size=criteria)
    return draw(st.lists(row, min_size=1, max_size=7))


def points(*rows):
    return [[Cost(float(value), float(value)) for value in row] for row in rows]


def no_worse_and_better(one, other):
    """The definition, on plain numbers."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_exact_costs_give_the_pareto_front(rows):
    found = dominance(points(*rows))
    for mine, row in zip(found, rows, strict=True):
        above = {place for place, other in enumerate(rows) if no_worse_and_better(other, row)}
        assert set(mine.by) == above
        assert mine.judged


@given(tables())
def test_no_undominated_one_is_dominated_and_there_always_is_one(costs):
    found = dominance(costs)
    judged = [number for number, one in enumerate(found) if one.judged]
    for number in judged:
        assert found[number].undominated == (found[number].by == ())
        assert number not in found[number].by
        assert set(found[number].by) <= set(judged)
    assert not judged or any(found[number].undominated for number in judged)


@given(tables())
def test_whoever_dominates_is_shown_better_somewhere_and_worse_nowhere(costs):
    for number, one in enumerate(dominance(costs)):
        for other in one.by:
            pairs = [(a, b) for a, b in zip(costs[other], costs[number], strict=True) if a and b]
            assert any(a.high < b.low for a, b in pairs)
            assert not any(b.high < a.low for a, b in pairs)


@given(tables())
def test_dominance_has_no_rings(costs):
    by = {number: set(one.by) for number, one in enumerate(dominance(costs))}
    while by:
        free = {number for number, above in by.items() if not above}
        assert free
        by = {number: above - free for number, above in by.items() if number not in free}


@given(tables(), st.randoms(use_true_random=False))
def test_order_does_not_matter(costs, random):
    order = list(range(len(costs)))
    random.shuffle(order)
    found, shuffled = dominance(costs), dominance([costs[number] for number in order])
    for place, number in enumerate(order):
        assert shuffled[place].judged == found[number].judged
        assert {order[one] for one in shuffled[place].by} == set(found[number].by)


@given(tables(intervals()), st.data())
def test_a_copy_of_a_configuration_is_dominated_by_the_same(costs, data):
    chosen = data.draw(st.integers(0, len(costs) - 1))
    found = dominance([*costs, costs[chosen]])
    assert found[chosen].by == found[-1].by


@given(tables(intervals()))
def test_the_same_cost_for_all_changes_nothing(costs):
    assert dominance([[*row, Cost(1.0, 2.0)] for row in costs]) == dominance(costs)
    assert dominance([[*row, None] for row in costs]) == dominance(costs)


def test_overlapping_intervals_tie_and_separate_ones_do_not():
    small, large = Cost(1.0, 1.0), Cost(2.0, 2.0)
    near, far = Cost(0.8, 1.2), Cost(1.3, 1.5)
    assert dominance([[small, near], [large, Cost(0.7, 0.9)]])[1].by == (0,)
    assert dominance([[small, far], [large, near]])[1].undominated
    assert [one.undominated for one in dominance([[near], [Cost(1.2, 1.5)]])] == [True, True]


def test_a_ring_of_three_decides_nothing_but_what_is_below_it_is_dominated():
    low, high, wide = Cost(0.0, 1.0), Cost(2.0, 3.0), Cost(0.5, 2.5)
    ring = [[low, wide, high], [high, low, wide], [wide, high, low]]
    assert dominance(ring) == [Dominance(True)] * 3
    worst = [Cost(4.0, 4.0)] * 3
    assert dominance([*ring, worst])[3].by == (0, 1, 2)


def test_undominated_ones_are_named_first():
    best, middle, worst = points((1,), (2,), (3,))
    assert dominance([middle, worst, best])[1].by == (2, 0)


def test_what_lacks_a_criterion_is_not_judged():
    whole, better, worse = [Cost(1.0, 1.0), Cost(1.0, 1.0)], [Cost(0.0, 0.0), None], [Cost(2.0, 2.0), None]
    found = dominance([whole, better, worse])
    assert found == [Dominance(True), Dominance(False), Dominance(False)]
    assert criteria_in_use([better, worse]) == (True, False)
    assert dominance([better, worse])[1].by == (0,)


def test_nothing_is_judged_where_nothing_was_measured():
    assert dominance([[None, None], [None, None]]) == [Dominance(False)] * 2
    assert dominance([]) == []


def test_an_infinite_cost_is_worse_than_any_finite_one_and_ties_with_itself():
    broken = Cost(math.inf, math.inf)
    assert [one.by for one in dominance([[broken], [Cost(1.0, 9.0)], [broken]])] == [(1,), (), (1,)]


@pytest.mark.parametrize(("low", "high"), list(product([math.nan, 1.0], [math.nan, 0.0])))
def test_what_is_no_interval_is_refused(low, high):
    with pytest.raises(ValueError, match="no interval"):
        Cost(low, high)
