"""Sparsities by outliers (OWL), against plain NumPy in float64."""

from __future__ import annotations

import json

import numpy as np
import pytest
from block_reference import block_inputs, first_hidden
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.activations.passes import calibrate
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import blocks, prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.methods.owl import OWL, spread_out, whole_counts
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.saving import save

# Sharper than Gaussian weights have them: outliers that differ between blocks.
HEAVY = {0: 1.0, 1: 3.0, 2: 0.3, 3: 2.0}


def heavy_tailed(folder):
    """Give each block another share of large weights, so that the ratios differ well beyond rounding."""
    model = load(folder)
    rng = np.random.default_rng(0)
    for linear in prunable_linears(model.model):
        weight = np.array(linear.weight)
        large = rng.random(weight.shape) < 0.01 * HEAVY[linear.block]
        linear.set_weight(mx_array(np.where(large, 12 * weight, weight)))
    return model


def mx_array(values):
    import mlx.core as mx

    return mx.array(values.astype(np.float32))


def reference_outliers(model, tokens) -> list[float]:
    """Share of |W| * rms(X) above five times its mean, over all linears of a block of the dense network."""
    hidden = first_hidden(model, tokens)
    found = []
    linears = prunable_linears(model.model)
    for index, block in enumerate(blocks(model.model)):
        inside = [linear for linear in linears if linear.block == index]
        inputs, hidden = block_inputs(block, inside, hidden)
        scores = np.concatenate(
            [
                (
                    np.abs(np.array(linear.weight, dtype=np.float64))
                    * np.sqrt((inputs[linear.name] ** 2).mean(0))
                ).reshape(-1)
                for linear in inside
            ]
        )
        found.append(float((scores > 5 * scores.mean()).mean()))
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sparsities_follow_the_outliers_of_the_dense_model(tmp_path, architecture, calibration):
    folder = save_tiny_model(tmp_path / "m", architecture, num_hidden_layers=4, seed=3)
    model, dense = heavy_tailed(folder), heavy_tailed(folder)
    report = prune(model, Recipe("sparsegpt", 0.6, allocation="owl", calibration=calibration))
    tokens = calibration_tokens(calibration, dense.tokenizer, dense.config, 0).tokens
    outliers = reference_outliers(dense, tokens)
    assert report.allocation is not None
    told = report.allocation["blocks"]
    smallest = min(1 / linear.size for linear in prunable_linears(dense.model))
    np.testing.assert_allclose([b["outliers"] / 100 for b in told], outliers, atol=2 * smallest)
    # Published OWL: ratios to [0, 2 lambda], shifted to the mean share kept; here weighted by parameters.
    kept = (np.array(outliers) - min(outliers)) / (max(outliers) - min(outliers)) * 0.16
    params = np.array([entry["params"] for entry in report.blocks.values()])
    kept = kept - np.average(kept, weights=params) + 0.4
    np.testing.assert_allclose([b["sparsity"] / 100 for b in told], 1 - kept, atol=2e-3)
    zeros = np.array([entry["zeros"] for entry in report.blocks.values()])
    np.testing.assert_allclose(zeros / params, 1 - kept, atol=2e-3)
    assert abs(report.zero_params - 0.6 * report.total_prunable_params) <= 1
    assert report.to_json()["method"] == "sparsegpt+owl"
    assert not report.warnings


def test_wanda_takes_whole_rows_and_still_meets_the_target(tmp_path, calibration):
    model = heavy_tailed(save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4))
    linears = prunable_linears(model.model)
    report = prune(model, Recipe("wanda", 0.5, allocation="owl", calibration=calibration))
    for linear in linears:
        per_row = (np.array(linear.weight) == 0).sum(axis=1)
        assert (per_row == per_row[0]).all()
    largest = max(linear.out_features for linear in linears)
    assert abs(report.zero_params - 0.5 * report.total_prunable_params) <= largest
    by_block = [entry["zeros"] / entry["params"] for entry in report.blocks.values()]
    told = [block["sparsity"] / 100 for block in report.allocation["blocks"]]
    np.testing.assert_allclose(by_block, told, atol=0.02)
    assert max(by_block) - min(by_block) > 0.1


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10**6)), min_size=1, max_size=12),
    st.floats(0, 0.9999),
)
@settings(deadline=None)
def test_any_outliers_average_to_the_target(blocks_of, target):
    outliers = [ratio for ratio, _ in blocks_of]
    params = [count for _, count in blocks_of]
    found = spread_out(outliers, params, target)
    assert np.average(found, weights=params) == pytest.approx(target, abs=1e-9)
    assert all(0 <= sparsity < 1 for sparsity in found)
    assert max(found) - min(found) <= 0.16 + 1e-9
    order = np.argsort(outliers, kind="stable")
    assert (np.diff(np.array(found)[order]) <= 1e-12).all()


def test_targets_near_the_ends_stay_inside():
    assert spread_out([0.1, 0.2, 0.3], [5, 5, 5], 0.0) == [0, 0, 0]
    low = spread_out([0.1, 0.2, 0.3], [5, 5, 5], 0.02)
    assert low[2] == 0
    assert np.mean(low) == pytest.approx(0.02)
    high = spread_out([0.1, 0.2, 0.3], [5, 5, 5], 0.97)
    assert high[0] == pytest.approx(0.99)
    assert np.mean(high) == pytest.approx(0.97)
    assert spread_out([0.2, 0.2], [1, 9], 0.5) == [0.5, 0.5]


def test_rounding_errors_do_not_add_up(tmp_path):
    linears = prunable_linears(load(save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=12)).model)
    recipe = Recipe("wanda", 0.51, allocation="owl")
    allocation = OWL.allocate(recipe, linears, [0.01 * (i % 5) for i in range(12)])
    total = 0
    for linear in linears:
        own = allocation.recipe(recipe, linear.name)
        assert own.allocation is None
        exact = linear.in_features * allocation.sparsities[linear.block]
        count = own.target_sparsity * linear.in_features
        assert abs(count - exact) < 1
        assert count == pytest.approx(round(count))
        total += linear.out_features * round(count)
    size = sum(linear.size for linear in linears)
    assert abs(total - 0.51 * size) <= max(linear.out_features for linear in linears)


@pytest.mark.parametrize("recipe", ["wanda", "wanda dense", "sparsegpt"])
def test_in_memory_and_streamed_agree(tmp_path, recipe, calibration):
    source = save_tiny_model(tmp_path / "m", "gemma2", dtype="bfloat16", shards=2)
    method, *statistics = recipe.split()
    asked = Recipe(
        method,
        0.5,
        allocation="owl",
        calibration=calibration,
        statistics=statistics[0] if statistics else None,
    )
    streamed = prune_checkpoint(source, tmp_path / "streamed", asked)
    model = load(source)
    report = prune(model, asked)
    save(model, tmp_path / "saved", report)
    assert report.matrices == streamed.matrices
    assert report.allocation == streamed.allocation
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes()
    meta = json.loads((tmp_path / "streamed" / "pruning_meta.json").read_text())
    assert meta["allocation"]["name"] == "owl"
    assert (meta["allocation"]["outlier_threshold"], meta["allocation"]["spread"]) == (5, 8)
    assert len(meta["allocation"]["blocks"]) == 3
    assert prune_checkpoint(source, tmp_path / "streamed", asked) == streamed
    # Statistics measured before give the same allocation; a hidden state that lies on disk, too.
    reused = load(source)
    assert prune(reused, asked, statistics=calibrate(load(source), calibration)).matrices == report.matrices
    on_disk = prune_checkpoint(source, tmp_path / "disk", asked, hidden_limit=0, cache=False)
    assert on_disk.matrices == report.matrices
    assert not list((tmp_path / "disk").glob("*pass*"))


def test_it_is_refused_where_it_would_do_nothing():
    with pytest.raises(RecipeError, match="would be ignored"):
        Recipe("wanda", pattern="2:4", allocation="owl")
    with pytest.raises(RecipeError, match="magnitude pruning looks at none"):
        Recipe("magnitude", 0.5, allocation="owl")
    with pytest.raises(RecipeError, match="Unknown allocation"):
        Recipe("wanda", 0.5, allocation="uniform")
    assert Recipe("wanda", 0.5, allocation="owl").label == "wanda+owl"
    assert Recipe("wanda", 0.5).label == "wanda"


@given(
    st.lists(st.tuples(st.integers(2, 60), st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=12),
)
def test_whole_counts_keep_the_sum_and_leave_a_unit_of_each_matrix(matrices):
    units, sizes, shares = zip(*matrices, strict=True)
    wanted = [share * count for share, count in zip(shares, units, strict=True)]
    counts = whole_counts(wanted, units, sizes)
    assert all(0 <= count < most for count, most in zip(counts, units, strict=True))
    total = sum(exact * size for exact, size in zip(wanted, sizes, strict=True))
    most = sum((count - 1) * size for count, size in zip(units, sizes, strict=True))
    found = sum(count * size for count, size in zip(counts, sizes, strict=True))
    assert abs(found - min(total, most)) <= max(sizes) / 2 + 1e-6 or found == most


@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.97])
@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_high_targets_are_met_without_taking_a_whole_matrix(tmp_path, calibration, method, sparsity):
    model = heavy_tailed(save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4))
    report = prune(model, Recipe(method, sparsity, allocation="owl", calibration=calibration))
    rows = max(linear.out_features for linear in prunable_linears(model.model))
    unit = rows if method == "wanda" else 1
    assert abs(report.zero_params - sparsity * report.total_prunable_params) <= unit
    assert all(matrix.zeros < matrix.params for matrix in report.matrices)
