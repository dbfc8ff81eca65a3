"""Recipes: exact counts, defaults, and arguments that make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_zeros import planned_zeros

from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.recipe import (
    Recipe,
    fraction_from_percent,
    group_prune_count,
    parse_pattern,
    prune_count,
    row_prune_count,
)


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


def test_a_pattern_implies_the_sparsity():
    assert Recipe("wanda", pattern="2:4").target_sparsity == 0.5
    assert Recipe("magnitude", pattern="1:4").target_sparsity == 0.75
    assert Recipe("magnitude", 0.75, pattern="1:4").groups == (1, 4)
    with pytest.raises(RecipeError, match=r"means a sparsity of 50 %, not 70 %"):
        Recipe("wanda", 0.7, pattern="2:4")


@pytest.mark.parametrize("pattern", ["", "4:2", "0:4", "4:4", "2", "a:b", "2:4:8", "-1:4", "1:9999"])
def test_patterns_that_make_no_sense_are_refused(pattern):
    with pytest.raises(RecipeError, match="N:M"):
        parse_pattern(pattern)


def test_an_incomplete_last_group_is_pruned_in_proportion():
    assert [group_prune_count(r, 2, 4) for r in range(5)] == [0, 0, 1, 1, 2]
    assert row_prune_count(42, Recipe("magnitude", pattern="2:4")) == 10 * 2 + 1
    assert row_prune_count(5, Recipe("wanda", pattern="1:4")) == 3


def test_defaults_are_filled_in():
    recipe = Recipe("wanda", 0.5)
    assert (recipe.scope, recipe.statistics, recipe.seed) == ("blocks", "sequential", 0)
    assert recipe.calibration == Calibration()
    sparsegpt = Recipe("sparsegpt", 0.5)
    assert (sparsegpt.statistics, sparsegpt.seed, sparsegpt.allocation) == ("sequential", 0, None)
    assert sparsegpt.calibration == Calibration()
    assert Recipe("random", 0.5).seed == 0
    assert Recipe("magnitude", 0.5).seed is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "prune"}, "Unknown method"),
        ({"method": "random"}, "Give a sparsity"),
        ({"method": "random", "sparsity": 1.0}, "below 1"),
        ({"method": "random", "sparsity": -0.1}, "at least 0"),
        ({"method": "random", "sparsity": float("nan")}, "fraction"),
        ({"method": "magnitude", "sparsity": 0.5, "seed": 1}, "would be ignored"),
        ({"method": "random", "sparsity": 0.5, "statistics": "dense"}, "would be ignored"),
        ({"method": "random", "sparsity": 0.5, "calibration": Calibration()}, "would be ignored"),
        ({"method": "magnitude", "sparsity": 0.5, "scope": "paper"}, "describes the study's Wanda"),
        ({"method": "wanda", "sparsity": 0.5, "scope": "all"}, "Unknown scope"),
        ({"method": "wanda", "sparsity": 0.5, "statistics": "none"}, "Unknown statistics"),
        ({"method": "wanda", "sparsity": 0.5, "seed": -1}, "negative"),
        ({"method": "sparsegpt", "sparsity": 0.5, "scope": "paper"}, "describes the study's Wanda"),
        ({"method": "sparsegpt", "pattern": "2:4", "allocation": "owl"}, "would be ignored"),
        ({"method": "random", "sparsity": 0.5, "allocation": "owl"}, "looks at none"),
        ({"method": "wanda", "sparsity": 0.5, "allocation": "uniform"}, "Unknown allocation"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(RecipeError, match=message):
        Recipe(**arguments)


def test_a_fraction_given_as_percentage_gets_a_hint():
    with pytest.raises(RecipeError, match="write 50"):
        fraction_from_percent(0.5)
    with pytest.raises(RecipeError, match="below 100"):
        fraction_from_percent(100)
    assert fraction_from_percent(29) == 0.29
    assert fraction_from_percent(0) == 0


def test_planned_zeros_follow_the_method():
    assert planned_zeros(7, 33, Recipe("wanda", 0.5)) == 7 * 16
    assert planned_zeros(7, 33, Recipe("magnitude", 0.5)) == 115
    assert planned_zeros(7, 33, Recipe("sparsegpt", 0.5)) == 115
    assert planned_zeros(7, 33, Recipe("sparsegpt", pattern="2:4")) == 7 * 16
    assert planned_zeros(7, 33, Recipe("random", 0.5)) is None
    assert planned_zeros(7, 33, Recipe("wanda", 0.5, allocation="owl")) is None
    assert planned_zeros(7, 33, Recipe("random", pattern="2:4")) == 7 * 16
