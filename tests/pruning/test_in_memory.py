"""Whole prunes against straightforward NumPy references, on five architectures."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from block_reference import block_inputs, first_hidden
from mlx.utils import tree_flatten
from planned_zeros import planned_zeros
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.activations.passes import calibrate
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import blocks, prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.counts import prune_count
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.recipe import Recipe


def wanda_scores(weight: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Float64 |W| * sqrt(mean of squared inputs)."""
    return np.abs(weight.astype(np.float64)) * np.sqrt(np.square(inputs).mean(axis=0))


def assert_pruned_as_scored(before: np.ndarray, after: np.ndarray, scores: np.ndarray, k: int) -> None:
    """Exactly k per row, those of smallest score; scores closer than float32 resolves may swap."""
    zeroed = (after == 0) & (before != 0)
    np.testing.assert_array_equal(after[~zeroed], before[~zeroed])
    assert (zeroed.sum(axis=1) == k).all()
    threshold = np.sort(scores, axis=1)[:, k - 1 : k]
    assert (scores[zeroed] <= np.broadcast_to(threshold, scores.shape)[zeroed] * (1 + 1e-4)).all()
    must = scores < threshold * (1 - 1e-4)
    assert zeroed[must].all()


@pytest.mark.parametrize("statistics", ["sequential", "dense"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_wanda_equals_a_straightforward_reference(tmp_path, architecture, statistics, calibration):
    """Prune a block, rerun it, go on; for dense statistics, rerun the dense block."""
    folder = save_tiny_model(tmp_path / "m", architecture, num_hidden_layers=4, seed=5)
    pruned, reference = load(folder), load(folder)
    recipe = Recipe("wanda", 0.5, statistics=statistics, calibration=calibration)
    prune(pruned, recipe)
    hidden = first_hidden(
        reference, calibration_tokens(calibration, pruned.tokenizer, pruned.config, 0).tokens
    )
    after = {linear.name: np.array(linear.module.weight) for linear in prunable_linears(pruned.model)}
    linears = prunable_linears(reference.model)
    for index, block in enumerate(blocks(reference.model)):
        inside = [linear for linear in linears if linear.block == index]
        inputs, outputs = block_inputs(block, inside, hidden)
        for linear in inside:
            before = np.array(linear.module.weight)
            k = prune_count(linear.in_features, 0.5)
            scores = wanda_scores(before, inputs[linear.name])
            assert_pruned_as_scored(before, after[linear.name], scores, k)
            if statistics == "sequential":
                linear.module.weight = mx.array(after[linear.name])
        if statistics == "sequential":
            _, outputs = block_inputs(block, inside, hidden)
        hidden = outputs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_magnitude_equals_a_sort_and_touches_nothing_else(tmp_path, architecture):
    folder = save_tiny_model(tmp_path / "m", architecture, seed=2)
    model, dense = load(folder), load(folder)
    report = prune(model, Recipe("magnitude", 0.3))
    names = {linear.name + ".weight" for linear in prunable_linears(model.model)}
    before = dict(tree_flatten(dense.model.parameters()))
    for name, after in tree_flatten(model.model.parameters()):
        values = np.array(before[name])
        if name in names:
            order = np.argsort(np.abs(values.astype(np.float64)), axis=None, kind="stable")
            values = values.copy()
            values.reshape(-1)[order[: prune_count(values.size, 0.3)]] = 0
        np.testing.assert_array_equal(np.array(after), values)
    assert report.zero_params == sum(prune_count(m.params, 0.3) for m in report.matrices)


def test_a_mask_is_decided_on_the_checkpoints_own_values(tmp_path, calibration):
    # bfloat16 weights widened to float32 hold the same values, ties included.
    folder = save_tiny_model(tmp_path / "m", "llama", dtype="bfloat16")
    wide, narrow = load(folder), load(folder, dtype="bfloat16")
    for model in (wide, narrow):
        prune(model, Recipe("magnitude", 0.5))
    for a, b in zip(prunable_linears(wide.model), prunable_linears(narrow.model), strict=True):
        assert mx.array_equal(a.module.weight, b.module.weight.astype(mx.float32))


def test_statistics_measured_once_serve_every_sparsity(tmp_path, calibration):
    folder = save_tiny_model(tmp_path / "m", "llama")
    statistics = calibrate(load(folder), calibration)
    for recipe in (
        Recipe("wanda", 0.3, statistics="dense", calibration=calibration),
        Recipe("wanda", pattern="2:4", statistics="dense", calibration=calibration),
        Recipe("wanda", 0.5, statistics="dense", scope="paper", calibration=calibration),
    ):
        reused, measured = load(folder), load(folder)
        report = prune(reused, recipe, statistics=statistics)
        expected = prune(measured, recipe)
        assert report.matrices == expected.matrices
        assert report.calibration == expected.calibration
        for a, b in zip(prunable_linears(reused.model), prunable_linears(measured.model), strict=True):
            assert mx.array_equal(a.module.weight, b.module.weight)
    with pytest.raises(RecipeError, match="dense statistics"):
        prune(load(folder), Recipe("wanda", 0.5, calibration=calibration), statistics=statistics)


def test_scope_paper_leaves_two_projections_dense_and_warns(tmp_path, calibration):
    model = load(save_tiny_model(tmp_path / "m", "phi3"))
    report = prune(model, Recipe("wanda", 0.5, scope="paper", calibration=calibration))
    for matrix in report.matrices:
        dense = matrix.projection in ("self_attn.o_proj", "mlp.down_proj")
        assert (matrix.zeros == 0) == dense
    assert report.actual_sparsity < 0.4
    assert len(report.warnings) == 1
    assert "self_attn.o_proj and mlp.down_proj dense" in report.warnings[0]


def test_random_is_seeded_by_name_not_by_order(tmp_path):
    folder = save_tiny_model(tmp_path / "m", "llama")
    a, b = load(folder), load(save_tiny_model(tmp_path / "longer", "llama", num_hidden_layers=5))
    prune(a, Recipe("random", 0.4, seed=3))
    prune(b, Recipe("random", 0.4, seed=3))
    masks = {linear.name: np.array(linear.module.weight) == 0 for linear in prunable_linears(b.model)}
    for linear in prunable_linears(a.model):
        np.testing.assert_array_equal(np.array(linear.module.weight) == 0, masks[linear.name])


def test_zeros_follow_from_the_recipe(tmp_path, calibration):
    model = load(save_tiny_model(tmp_path / "m", "qwen3"))
    linears = prunable_linears(model.model)
    recipe = Recipe("wanda", pattern="1:4", calibration=calibration)
    planned = [planned_zeros(linear.out_features, linear.in_features, recipe) for linear in linears]
    report = prune(model, recipe)
    assert [matrix.zeros for matrix in report.matrices] == planned
    assert report.zero_params == sum(planned)
    assert report.total_prunable_params == sum(linear.size for linear in linears)


def test_progress_reaches_the_last_block(tmp_path, calibration):
    model = load(save_tiny_model(tmp_path / "m", "llama"))
    told = []
    prune(model, Recipe("wanda", 0.5, calibration=calibration), progress=told.append)
    assert [(p.stage, p.done, p.total) for p in told] == [("prune", i, 3) for i in range(4)]
