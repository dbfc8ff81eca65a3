"""SparseGPT on single layers, against the paper's formulas in float64."""

from __future__ import annotations

import itertools

import mlx.core as mx
import numpy as np
import pytest
from sparsegpt_reference import damped_hessian, sparsegpt

from mlx_prune.activations.statistics import GramSums, gram_sums, square_sums
from mlx_prune.errors import CheckpointError
from mlx_prune.pruning.counts import group_prune_count, prune_count
from mlx_prune.pruning.methods.sparsegpt import BlockUpdates, inverse_factor, prune_with_updates
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.selection import prune_weight

SHAPES = [(1, 1), (1, 7), (9, 1), (17, 33), (12, 128), (7, 131)]
PATTERNS = ["2:4", "1:4", "3:5", "4:8", "1:2", "5:7"]


def correlated_inputs(rng: np.random.Generator, tokens: int, features: int) -> np.ndarray:
    """Activations as a network has them: a few common directions, features of unequal size."""
    common = rng.standard_normal((tokens, max(1, features // 4))) @ rng.standard_normal(
        (max(1, features // 4), features)
    )
    values = (common + 0.3 * rng.standard_normal((tokens, features))) * rng.uniform(0.2, 3, features)
    return values.astype(np.float32)


def random_layer(seed: int, shape: tuple[int, int], tokens: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32), correlated_inputs(rng, tokens, shape[1])


def pruned_here(weight: np.ndarray, inputs: np.ndarray, recipe: Recipe) -> np.ndarray:
    factor = inverse_factor(gram_sums(mx.array(inputs)), "layer")
    result = prune_with_updates(mx.array(weight), factor, recipe, "layer")
    assert result.dtype == mx.float32
    return np.array(result)


def shares(shape: tuple[int, int], sparsity: float) -> list[int]:
    """How many weights go from each 128 columns, so that the running total is exact."""
    rows, columns = shape
    ends = [*range(128, columns, 128), columns]
    totals = [0, *(prune_count(rows * end, sparsity) for end in ends)]
    return [after - before for before, after in itertools.pairwise(totals)]


@pytest.mark.parametrize(
    ("shape", "sparsity"), [*itertools.product(SHAPES, [0.1, 0.5, 0.77]), ((5, 260), 0.5)]
)
def test_unstructured_equals_the_papers_formulas(shape, sparsity):
    weight, inputs = random_layer(shape[1], shape)
    ours = pruned_here(weight, inputs, Recipe("sparsegpt", sparsity))
    expected, mask = sparsegpt(weight, inputs, zeros_by=shares(shape, sparsity))
    np.testing.assert_array_equal(ours == 0, mask)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max())
    assert (ours == 0).sum() == prune_count(weight.size, sparsity)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("shape", [(5, 2), (17, 33), (7, 131)])
def test_patterns_equal_the_papers_formulas(shape, pattern):
    weight, inputs = random_layer(shape[1] + 1, shape)
    recipe = Recipe("sparsegpt", pattern=pattern)
    assert recipe.groups is not None
    ours = pruned_here(weight, inputs, recipe)
    expected, mask = sparsegpt(weight, inputs, groups=recipe.groups)
    np.testing.assert_array_equal(ours == 0, mask)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max())
    keep, size = recipe.groups
    for start in range(0, shape[1], size):
        group = ours[:, start : start + size]
        assert ((group == 0).sum(axis=1) == group_prune_count(group.shape[1], keep, size)).all()


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=str)
def test_half_precision_weights_are_computed_in_float32(dtype):
    weight, inputs = random_layer(3, (19, 150))
    stored = mx.array(weight).astype(dtype)
    wide = np.array(stored.astype(mx.float32))
    factor = inverse_factor(gram_sums(mx.array(inputs)), "layer")
    ours = np.array(prune_with_updates(stored, factor, Recipe("sparsegpt", 0.5), "layer"))
    expected, mask = sparsegpt(wide, inputs, zeros_by=shares(wide.shape, 0.5))
    np.testing.assert_array_equal(ours == 0, mask)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(np.array(stored.astype(mx.float32)), wide)


def test_dead_inputs_go_first_and_disturb_nothing():
    weight, inputs = random_layer(8, (13, 140))
    dead = [0, 5, 6, 77, 139]
    inputs[:, dead] = 0
    ours = pruned_here(weight, inputs, Recipe("sparsegpt", 0.4))
    expected, mask = sparsegpt(weight, inputs, zeros_by=shares(weight.shape, 0.4))
    np.testing.assert_array_equal(ours == 0, mask)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max())
    assert (ours[:, dead] == 0).all()
    # Fewer zeros than weights of dead inputs: exactly as many go, and no other weight changes.
    few = pruned_here(weight, inputs, Recipe("sparsegpt", 0.02))
    changed = few != weight
    assert changed.sum() == (few == 0).sum() == prune_count(weight.size, 0.02)
    assert not np.delete(changed, dead, axis=1).any()


def test_zeros_that_are_there_already_count():
    weight, inputs = random_layer(9, (16, 64))
    weight[:, ::4] = 0
    ours = pruned_here(weight, inputs, Recipe("sparsegpt", 0.25))
    np.testing.assert_array_equal(ours, weight)


def test_inputs_that_are_not_correlated_lead_to_wanda_without_updates():
    # A diagonal Hessian: nothing can make up for anything.
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((10, 32)).astype(np.float32)
    inputs = np.diag(rng.uniform(0.5, 2, 32)).astype(np.float32)
    ours = pruned_here(weight, inputs, Recipe("sparsegpt", pattern="2:4"))
    kept = ours != 0
    np.testing.assert_allclose(ours[kept], weight[kept], rtol=1e-6)
    hessian, _ = damped_hessian(inputs)
    scores = np.abs(weight) * np.sqrt(hessian.diagonal())
    ranks = scores.reshape(10, 8, 4).argsort(axis=2).argsort(axis=2).reshape(10, 32)
    np.testing.assert_array_equal(kept, ranks >= 2)


@pytest.mark.parametrize("asked", [{"sparsity": 0.5}, {"pattern": "2:4"}, {"sparsity": 0.7}], ids=str)
def test_outputs_stay_closer_than_with_wanda_or_magnitude(asked):
    weight, inputs = random_layer(21, (64, 192), tokens=1000)
    outputs = inputs.astype(np.float64) @ weight.T.astype(np.float64)

    def error(pruned: np.ndarray) -> float:
        return float(np.linalg.norm(inputs.astype(np.float64) @ pruned.T.astype(np.float64) - outputs))

    scale = square_sums(mx.array(inputs)).root_mean_square()
    wanda = np.array(prune_weight(mx.array(weight), Recipe("wanda", **asked), "layer", scale))
    magnitude = np.array(prune_weight(mx.array(weight), Recipe("magnitude", **asked), "layer"))
    ours = pruned_here(weight, inputs, Recipe("sparsegpt", **asked))
    assert error(ours) < 0.85 * error(wanda) < 0.85 * error(magnitude)


def test_fewer_tokens_than_inputs_are_enough():
    weight, inputs = random_layer(6, (9, 200), tokens=40)
    ours = pruned_here(weight, inputs, Recipe("sparsegpt", 0.5))
    expected, mask = sparsegpt(weight, inputs, zeros_by=shares(weight.shape, 0.5))
    np.testing.assert_array_equal(ours == 0, mask)
    np.testing.assert_allclose(ours, expected, atol=1e-3 * np.abs(expected).max())


def test_no_tokens_means_magnitude():
    weight, _ = random_layer(2, (6, 20))
    empty = gram_sums(mx.zeros((0, 20)))
    assert empty.count == 0
    factor = inverse_factor(empty, "layer")
    ours = prune_with_updates(mx.array(weight), factor, Recipe("sparsegpt", 0.5), "layer")
    assert mx.array_equal(ours, prune_weight(mx.array(weight), Recipe("magnitude", 0.5), "layer"))


def test_layers_that_share_inputs_share_the_factor(monkeypatch):
    factored = []
    original = inverse_factor
    monkeypatch.setattr(
        "mlx_prune.pruning.methods.sparsegpt.inverse_factor",
        lambda gram, name: factored.append(name) or original(gram, name),
    )
    weight, inputs = random_layer(5, (8, 24))
    shared, other = gram_sums(mx.array(inputs)), gram_sums(mx.array(inputs[:100]))
    updates = BlockUpdates({"gate": shared, "down": other, "up": shared})
    recipe = Recipe("sparsegpt", 0.5)
    results = {name: updates.prune(mx.array(weight), recipe, name) for name in ("gate", "down", "up")}
    assert factored == ["gate", "down"]
    assert mx.array_equal(results["gate"], results["up"])
    assert not mx.array_equal(results["gate"], results["down"])


def test_a_mask_alone_is_not_sparsegpt():
    with pytest.raises(ValueError, match="takes this one's place"):
        prune_weight(mx.ones((4, 8)), Recipe("sparsegpt", 0.5), "layer")


def test_what_cannot_be_factored_is_said():
    indefinite = GramSums(mx.array([[1.0, 2.0], [2.0, 1.0]]), 10)
    with pytest.raises(CheckpointError, match=r"inputs of a\.b .* linearly dependent"):
        inverse_factor(indefinite, "a.b")
    weight, inputs = random_layer(1, (4, 8))
    weight[2, 3] = np.nan
    with pytest.raises(CheckpointError, match=r"layer holds NaN"):
        pruned_here(weight, inputs, Recipe("sparsegpt", 0.5))
