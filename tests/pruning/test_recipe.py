"""Recipes: defaults, what they imply, and arguments that make no sense."""

from __future__ import annotations

import pytest
from planned_zeros import planned_zeros

from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.recipe import Recipe, row_prune_count


def test_a_pattern_implies_the_sparsity():
    assert Recipe("wanda", pattern="2:4").target_sparsity == 0.5
    assert Recipe("magnitude", pattern="1:4").target_sparsity == 0.75
    assert Recipe("magnitude", 0.75, pattern="1:4").groups == (1, 4)
    with pytest.raises(RecipeError, match=r"means a sparsity of 50 %, not 70 %"):
        Recipe("wanda", 0.7, pattern="2:4")


def test_an_incomplete_last_group_is_pruned_in_proportion():
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


def test_planned_zeros_follow_the_method():
    assert planned_zeros(7, 33, Recipe("wanda", 0.5)) == 7 * 16
    assert planned_zeros(7, 33, Recipe("magnitude", 0.5)) == 115
    assert planned_zeros(7, 33, Recipe("sparsegpt", 0.5)) == 115
    assert planned_zeros(7, 33, Recipe("sparsegpt", pattern="2:4")) == 7 * 16
    assert planned_zeros(7, 33, Recipe("random", 0.5)) is None
    assert planned_zeros(7, 33, Recipe("wanda", 0.5, allocation="owl")) is None
    assert planned_zeros(7, 33, Recipe("random", pattern="2:4")) == 7 * 16
