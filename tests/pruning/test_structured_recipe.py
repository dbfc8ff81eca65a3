"""Recipes of structured pruning: labels, counts, and arguments that would be ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.labels import parse_label
from mlx_prune.pruning.structured_recipe import StructuredRecipe


@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        ({"method": "width"}, "width"),
        ({"method": "width", "repair": True}, "width+repair"),
        ({"method": "width", "units": "heads", "repair": True}, "width+heads+repair"),
        ({"method": "width", "units": "both", "scores": "magnitude"}, "width+both"),
        ({"method": "depth", "contiguous": True}, "depth+contiguous"),
        ({"method": "depth", "contiguous": True, "repair": True}, "depth+contiguous+repair"),
    ],
)
def test_labels_are_those_of_the_grammar(arguments, label):
    recipe = StructuredRecipe(sparsity=0.5, **arguments)
    assert recipe.label == label
    assert str(parse_label(label)) == label


def test_defaults_are_filled_in_where_something_is_measured():
    recipe = StructuredRecipe("width", 0.5)
    assert (recipe.statistics, recipe.seed, recipe.calibration) == ("sequential", 0, Calibration())
    assert StructuredRecipe("depth", 0.5).statistics == "dense"
    silent = StructuredRecipe("width", 0.5, scores="magnitude")
    assert (silent.statistics, silent.seed, silent.calibration) == (None, None, None)
    assert StructuredRecipe("width", 0.5, scores="magnitude", repair=True).calibration == Calibration()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "slim"}, "Unknown method"),
        ({"sparsity": 0.0}, "above 0 and below 1"),
        ({"sparsity": 1.0}, "above 0 and below 1"),
        ({"units": "layers"}, "Unknown units"),
        ({"scores": "random"}, "Unknown scores"),
        ({"contiguous": True}, "contiguous would be ignored"),
        ({"units": "heads", "multiple": 8}, "keeps them all"),
        ({"multiple": 0}, "at least 1"),
        ({"statistics": "sparse"}, "Unknown statistics"),
        ({"seed": -1}, "must not be negative"),
        ({"scores": "magnitude", "seed": 1}, "seed would be ignored"),
        ({"scores": "magnitude", "statistics": "dense"}, "statistics would be ignored"),
        ({"scores": "magnitude", "calibration": Calibration()}, "calibration would be ignored"),
        ({"method": "depth", "units": "heads"}, "units would be ignored"),
        ({"method": "depth", "scores": "magnitude"}, "scores would be ignored"),
        ({"method": "depth", "multiple": 8}, "multiple would be ignored"),
        ({"method": "depth", "statistics": "sequential"}, "sequential statistics would be ignored"),
    ],
)
def test_what_makes_no_sense_or_would_be_ignored_is_refused(arguments, message):
    with pytest.raises(RecipeError, match=message):
        StructuredRecipe(**{"method": "width", "sparsity": 0.5, **arguments})


@given(st.integers(9, 30000), st.floats(0.01, 0.99), st.none() | st.integers(1, 300))
def test_kept_neurons_are_a_multiple_within_half_a_multiple_of_the_share(neurons, share, multiple):
    recipe = StructuredRecipe("width", share, scores="magnitude", multiple=multiple)
    step = multiple or (64 if neurons >= 1024 else 32 if neurons >= 256 else 8)
    try:
        kept = recipe.kept_neurons(neurons)
    except RecipeError:
        assert neurons * (1 - share) >= neurons - step / 2 - 1e-6 or neurons <= step
        return
    assert kept % step == 0
    assert 0 < kept < neurons
    assert kept == step or abs(kept - neurons * (1 - share)) <= step / 2 + 1e-6


@pytest.mark.parametrize(
    ("blocks", "share", "removed"), [(32, 0.25, 8), (5, 0.5, 2), (3, 0.5, 2), (4, 0.99, 3)]
)
def test_blocks_are_rounded_and_one_stays(blocks, share, removed):
    assert StructuredRecipe("depth", share).removed_blocks(blocks) == removed


def test_a_share_that_rounds_to_nothing_is_refused():
    with pytest.raises(RecipeError, match="none to remove"):
        StructuredRecipe("depth", 0.1).removed_blocks(4)
    with pytest.raises(RecipeError, match="none to remove"):
        StructuredRecipe("width", 0.5, units="heads").kept_groups(1)
    with pytest.raises(RecipeError, match="smaller multiple"):
        StructuredRecipe("width", 0.01).kept_neurons(1024)
