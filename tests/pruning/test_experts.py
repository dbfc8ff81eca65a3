"""Experts against NumPy references that run each router by hand."""

from __future__ import annotations

import re

import mlx.core as mx
import numpy as np
import pytest
from experts_by_hand import BY_HAND, experts_by_hand
from mlx_lm.models.switch_layers import SwitchLinear
from tiny_experts import MIXTURES, save_tiny_experts

from mlx_prune.activations import passes as calibration_module
from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.passes import calibrate
from mlx_prune.activations.statistics import SquareSums, routed_inputs
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.config import experts_per_token
from mlx_prune.checkpoint.matrices import matrices_of, other_projections, prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import CheckpointError
from mlx_prune.pruning.counts import prune_count
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.recipe import Recipe


@pytest.mark.parametrize("sizes", [(7, 29), (1, 13)], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("architecture", BY_HAND)
def test_an_experts_statistics_are_over_the_tokens_routed_to_it(
    tmp_path, architecture, sizes, calibration_file, monkeypatch
):
    model = load(save_tiny_experts(tmp_path / "m", architecture, seed=4))
    calibration = Calibration(calibration_file, *sizes)
    data = calibration_tokens(calibration, model.tokenizer, model.config, 0)
    expected = experts_by_hand(model, architecture, data.tokens)
    # Below 64 pairs of token and expert mlx-lm does not sort them.
    assert (data.tokens.size * model.config["num_experts_per_tok"] >= 64) == (sizes == (7, 29))
    for sequences_per_batch in (2, 7):
        monkeypatch.setattr(calibration_module, "batch_size", lambda *_, n=sequences_per_batch: n)
        found = calibrate(model, calibration).sums
        assert {name for name in found if name.endswith("]")} == expected.keys()
        for name, inputs in expected.items():
            assert found[name].count == len(inputs)
            if len(inputs):
                rms = np.sqrt(np.square(inputs).mean(axis=0))
                np.testing.assert_allclose(np.array(found[name].root_mean_square()), rms, rtol=1e-4)


@pytest.mark.parametrize("architecture", BY_HAND)
def test_wanda_prunes_each_expert_by_its_own_inputs(tmp_path, architecture, calibration):
    folder = save_tiny_experts(tmp_path / "m", architecture, seed=5)
    model, dense = load(folder), load(folder)
    recipe = Recipe("wanda", 0.4, statistics="dense", calibration=calibration)
    report = prune(model, recipe)
    tokens = calibration_tokens(calibration, dense.tokenizer, dense.config, 0).tokens
    inputs = experts_by_hand(dense, architecture, tokens)
    after = {linear.name: np.array(linear.weight) for linear in prunable_linears(model.model)}
    for linear in prunable_linears(dense.model):
        if linear.expert is None:
            continue
        before, k = np.array(linear.weight), prune_count(linear.in_features, 0.4)
        mine = inputs[linear.name]
        assert len(mine) > 0
        scores = np.abs(before.astype(np.float64)) * np.sqrt(np.square(mine).mean(axis=0))
        zeroed = after[linear.name] == 0
        np.testing.assert_array_equal(after[linear.name][~zeroed], before[~zeroed])
        assert (zeroed.sum(axis=1) == k).all()
        threshold = np.sort(scores, axis=1)[:, k - 1 : k]
        assert zeroed[scores < threshold * (1 - 1e-4)].all()
    assert report.unseen == ()
    assert report.total_prunable_params == sum(w.size for w in after.values())
    assert report.zero_params == sum((w == 0).sum() for w in after.values())


def test_an_expert_without_tokens_is_scored_by_its_weights_and_named(tmp_path, calibration_file):
    model = load(save_tiny_experts(tmp_path / "m", "mixtral", num_local_experts=8))
    before = {linear.name: np.array(linear.weight) for linear in prunable_linears(model.model)}
    # Two tokens reach four experts at most.
    recipe = Recipe("wanda", 0.5, statistics="dense", calibration=Calibration(calibration_file, 1, 2))
    tokens = calibration_tokens(recipe.calibration, model.tokenizer, model.config, 0).tokens
    inputs = experts_by_hand(load(model.path), "mixtral", tokens)
    unseen = {name for name, rows in inputs.items() if len(rows) == 0}
    report = prune(model, recipe)
    assert set(report.unseen) == unseen
    assert len(unseen) >= 3 * 3 * 4
    (warning,) = [sentence for sentence in report.warnings if "routed" in sentence]
    first = report.unseen[0].replace(".gate_proj", "").replace(".up_proj", "").replace(".down_proj", "")
    assert f"routed to {len(unseen) // 3} experts ({first}, " in warning
    assert f"and {len(unseen) // 3 - 4} more" in warning
    assert report.to_json()["unseen_experts"] == list(report.unseen)
    for linear in prunable_linears(model.model):
        if linear.name in unseen:
            order = np.argsort(np.abs(before[linear.name]), axis=1, kind="stable")
            zeroed = np.argsort(order, axis=1) < prune_count(linear.in_features, 0.5)
            np.testing.assert_array_equal(np.array(linear.weight) == 0, zeroed)


@pytest.mark.parametrize("method", ["magnitude", "random", "wanda", "sparsegpt"])
@pytest.mark.parametrize("architecture", MIXTURES)
def test_every_method_and_pattern_prunes_experts(tmp_path, architecture, method, calibration):
    folder = save_tiny_experts(tmp_path / "m", architecture)
    more = {"calibration": calibration} if method in ("wanda", "sparsegpt") else {}
    for sparsity in ({"sparsity": 0.5}, {"pattern": "2:4"}):
        model = load(folder)
        report = prune(model, Recipe(method, **sparsity, **more))
        assert report.total_prunable_params == sum(linear.size for linear in prunable_linears(model.model))
        for linear, matrix in zip(prunable_linears(model.model), report.matrices, strict=True):
            assert matrix.name == linear.name
            assert matrix.zeros == int((np.array(linear.weight) == 0).sum())
            close = 0.08 if method == "random" else 0.03
            assert matrix.sparsity == pytest.approx(0.5, abs=close)
        mx.eval(model.model(mx.array([[5, 6, 7, 8]])))


def test_routers_stay_dense_and_are_neither_counted_nor_silent(tmp_path):
    for architecture, router in (
        ("mixtral", "block_sparse_moe.gate"),
        ("qwen3_moe", "mlp.gate"),
        ("qwen2_moe", "mlp.shared_expert_gate"),
        ("deepseek_v3", "mlp.gate"),
        ("granitemoe", "block_sparse_moe.router.layer"),
        ("gpt_oss", "mlp.router"),
    ):
        model = load(save_tiny_experts(tmp_path / architecture, architecture))
        assert router in other_projections(model.model)
        assert not any(linear.projection == router for linear in prunable_linears(model.model))
        report = prune(model, Recipe("magnitude", 0.5))
        assert router in report.left_out
        assert any(router in sentence for sentence in report.warnings)


def test_a_dense_block_of_a_mixture_is_pruned_whole(tmp_path):
    model = load(save_tiny_experts(tmp_path / "m", "qwen3_moe")).model
    names = [linear.name for linear in prunable_linears(model) if linear.block == 1]
    assert {name for name in names if ".mlp." in name} == {
        f"model.layers.1.mlp.{p}_proj" for p in ("gate", "up", "down")
    }


def test_one_expert_is_replaced_in_the_stacks_own_memory(tmp_path):
    layer = SwitchLinear(64, 96, 32, bias=False)
    mx.eval(layer.parameters())
    before = np.array(layer.weight)
    experts = matrices_of(0, "model.layers.0.mlp.up_proj", "mlp.up_proj", layer)
    mx.reset_peak_memory()
    held = mx.get_active_memory()
    for linear in experts:
        weight = linear.weight * linear.expert
        linear.set_weight(weight)
        del weight
    assert mx.get_peak_memory() - held < before.nbytes / 4
    np.testing.assert_array_equal(
        np.array(layer.weight), before * np.arange(32, dtype=np.float32)[:, None, None]
    )
    kept = layer.weight
    experts[3].set_weight(mx.ones((96, 64)))
    assert not (np.array(kept)[3] == 1).any()
    assert (np.array(layer.weight)[3] == 1).all()


@pytest.mark.parametrize("form", ["one row per token", "one row per pair", "sorted pairs"])
def test_routed_inputs_go_to_their_experts(form):
    rng = np.random.default_rng(11)
    batch, length, k, experts, features = 2, 5, 3, 7, 4
    chosen = np.stack([rng.permutation(experts)[:k] for _ in range(batch * length)])
    tokens = rng.normal(size=(batch * length, features)).astype(np.float32)
    pairs = rng.normal(size=(batch * length, k, features)).astype(np.float32)
    if form == "one row per token":
        x, indices = tokens.reshape(batch, length, 1, 1, features), chosen.reshape(batch, length, k)
        expected = [tokens[(chosen == e).any(axis=1)] for e in range(experts)]
    elif form == "one row per pair":
        x, indices = pairs.reshape(batch, length, k, 1, features), chosen.reshape(batch, length, k)
        expected = [pairs[chosen == e] for e in range(experts)]
    else:
        order = np.argsort(chosen.reshape(-1), kind="stable")
        x = pairs.reshape(-1, 1, features)[order]
        indices = chosen.reshape(-1)[order]
        expected = [pairs[chosen == e] for e in range(experts)]
    found = routed_inputs(mx.array(x), mx.array(indices.astype(np.uint32)), experts)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.array(mine), theirs)


def test_no_tokens_count_every_feature_alike():
    empty = SquareSums(mx.zeros(3), 0)
    np.testing.assert_array_equal(np.array(empty.root_mean_square()), np.ones(3))
    some = SquareSums(mx.array([4.0, 0.0, 1.0]), 1)
    np.testing.assert_array_equal(np.array((empty + some).root_mean_square()), [2, 0, 1])


def test_experts_per_token_is_read_from_any_configuration():
    assert experts_per_token({"num_experts_per_tok": 3}) == 3
    assert experts_per_token({"text_config": {"num_experts_per_tok": 2}}) == 2
    assert experts_per_token({"moe_topk": 4}) == 4
    assert experts_per_token({"hidden_size": 4}) is None


def test_a_quantized_stack_is_refused_by_name(tmp_path):
    model = load(save_tiny_experts(tmp_path / "m", "mixtral", hidden_size=64, num_attention_heads=2)).model
    stack = model.model.layers[0].block_sparse_moe.switch_mlp
    stack.gate_proj = stack.gate_proj.to_quantized(group_size=32, bits=4)
    with pytest.raises(CheckpointError, match=re.escape("switch_mlp.gate_proj is quantized")):
        prunable_linears(model)
