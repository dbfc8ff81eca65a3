"""How many weights go: exact counts, percentages as people write them, N:M patterns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_prune.errors import RecipeError
from mlx_prune.pruning.counts import fraction_from_percent, group_prune_count, parse_pattern, prune_count


def test_counts_are_exact_where_the_float_product_is_not():
    assert int(90 * 0.7) == 62  # what makes the exact count necessary
    assert prune_count(90, 0.7) == 63
    assert prune_count(100, 0.29) == 29
    assert prune_count(4096, 0.5) == 2048
    assert prune_count(33, 0.5) == 16


@given(st.integers(0, 10**8), st.integers(100, 9999))
@settings(deadline=None)
def test_counts_of_decimal_percentages_are_floors(n, hundredths):
    assert prune_count(n, fraction_from_percent(hundredths / 100)) == n * hundredths // 10000


@given(st.integers(1, 10**6), st.integers(1, 300))
@settings(deadline=None)
def test_counts_of_ratios_are_floors(n, m):
    for keep in {1, m // 2, m - 1}:
        assert prune_count(n, keep / (m + 1)) == n * keep // (m + 1)


@pytest.mark.parametrize("pattern", ["", "4:2", "0:4", "4:4", "2", "a:b", "2:4:8", "-1:4", "1:9999"])
def test_patterns_that_make_no_sense_are_refused(pattern):
    with pytest.raises(RecipeError, match="N:M"):
        parse_pattern(pattern)


def test_an_incomplete_group_is_pruned_in_proportion():
    assert [group_prune_count(r, 2, 4) for r in range(5)] == [0, 0, 1, 1, 2]


def test_a_fraction_given_as_percentage_gets_a_hint():
    with pytest.raises(RecipeError, match="write 50"):
        fraction_from_percent(0.5)
    with pytest.raises(RecipeError, match="below 100"):
        fraction_from_percent(100)
    assert fraction_from_percent(29) == 0.29
    assert fraction_from_percent(0) == 0
