"""Least-squares repair against NumPy's lstsq on the activations themselves."""

from __future__ import annotations

import json

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from narrowed_reference import TOKENS, inputs_of, narrowed, only_blocks
from stored_bits import read_bits
from tiny_models import save_tiny_model

from mlx_prune.activations.blocks import calls_replaced
from mlx_prune.activations.statistics import gram_sums
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.structure.least_squares import RIDGE, corrected, output_error
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe


def ridge_lstsq(x, y):
    """argmin ||y - x b||^2 + ridge ||b||^2 by stacking rows, [features, outputs]."""
    ridge = RIDGE * np.square(x).sum(axis=0).mean()
    stacked = np.concatenate([x, np.sqrt(ridge) * np.eye(x.shape[1])])
    return np.linalg.lstsq(stacked, np.concatenate([y, np.zeros((x.shape[1], y.shape[1]))]), rcond=None)[0]


def by_lstsq(w, x, stay):
    gone = np.setdiff1d(np.arange(w.shape[1]), stay)
    return w[:, stay] + ridge_lstsq(x[:, stay], x[:, gone] @ w[:, gone].T).T


@pytest.mark.parametrize("shape", [(5, 7, 3), (33, 21, 8), (8, 1030, 515)])
def test_corrected_weights_equal_those_of_lstsq(shape):
    outputs, inputs, kept = shape
    rng = np.random.default_rng(inputs)
    mixing = rng.normal(size=(inputs, inputs)) / np.sqrt(inputs)
    x = (rng.normal(size=(4 * inputs, inputs)) @ mixing).astype(np.float32)
    w = rng.normal(size=(outputs, inputs)).astype(np.float32)
    stay = np.sort(rng.permutation(inputs)[:kept])
    gram = gram_sums(mx.array(x))
    found = corrected(mx.array(w), gram, stay)
    expected = by_lstsq(w.astype(np.float64), x.astype(np.float64), stay)
    np.testing.assert_allclose(np.array(found), expected, atol=3e-4)
    whole = x.astype(np.float64) @ w.T
    errors = output_error(mx.array(w), gram, stay, found)
    for error, weights in ((errors.without, w[:, stay]), (errors.repaired, expected)):
        rest = np.linalg.norm(whole - x[:, stay].astype(np.float64) @ weights.T) / np.linalg.norm(whole)
        assert error == pytest.approx(rest, rel=1e-3)
    assert errors.repaired < errors.without


def test_inputs_that_are_always_zero_change_nothing():
    w = mx.array(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32))
    stay = np.array([0, 2, 5])
    gram = gram_sums(mx.zeros((9, 6)))
    found = corrected(w, gram, stay)
    np.testing.assert_array_equal(np.array(found), np.array(w)[:, stay])
    error = output_error(w, gram, stay, found)
    assert (error.without, error.repaired) == (0, 0)


@pytest.mark.parametrize("statistics", ["sequential", "dense"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "phi3"])
def test_a_repaired_narrow_model_is_the_one_that_lstsq_gives(tmp_path, architecture, statistics, calibration):
    source = save_tiny_model(tmp_path / "m", architecture, seed=6)
    recipe = StructuredRecipe("width", 0.5, repair=True, statistics=statistics, calibration=calibration)
    report = prune_structured(source, tmp_path / "out", recipe)
    neurons = report.removed["neurons"]
    expected, _ = narrowed(
        str(source),
        "mlp.down_proj",
        calibration,
        np.arange(neurons["before"]),
        neurons["after"],
        statistics=statistics,
        repaired=by_lstsq,
    )
    found, _ = mlx_lm.load(str(tmp_path / "out"))
    np.testing.assert_allclose(
        np.array(found(mx.array(TOKENS))), np.array(expected.model(mx.array(TOKENS))), atol=2e-3
    )
    assert all(entry["repaired"] < 0.95 * entry["without"] for entry in report.repair["neurons"])
    assert json.loads((tmp_path / "out" / "pruning_meta.json").read_text())["repair"] == report.repair


def test_repair_of_heads_corrects_the_output_projection(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "mistral", seed=6, dtype="bfloat16")
    recipe = StructuredRecipe("width", 0.5, units="heads", repair=True, calibration=calibration)
    report = prune_structured(source, tmp_path / "out", recipe)
    assert all(entry["repaired"] < entry["without"] for entry in report.repair["groups"])
    before, after = open_shards(source), open_shards(tmp_path / "out")
    same = "model.layers.0.mlp.down_proj.weight"
    np.testing.assert_array_equal(read_bits(before, same), read_bits(after, same))
    assert after.tensors["model.layers.0.self_attn.o_proj.weight"].dtype == "BF16"


def states_after(model, tokens):
    seen = []

    def keep(block, x, *args, **kwargs):
        seen.append(type(block).__mro__[1].__call__(block, x, *args, **kwargs))
        return seen[-1]

    with calls_replaced(blocks(model), keep):
        mx.eval(model(mx.array(tokens)))
    return [np.array(x).astype(np.float64).reshape(-1, x.shape[-1]) for x in seen]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "phi3", "qwen3"])
def test_the_block_before_a_gap_makes_up_for_it(tmp_path, architecture, calibration):
    source = save_tiny_model(tmp_path / "m", architecture, num_hidden_layers=6, seed=7)
    recipe = StructuredRecipe("depth", 0.34, contiguous=True, repair=True, calibration=calibration)
    report = prune_structured(source, tmp_path / "out", recipe)
    first, last = report.removed["blocks"]["removed"]
    assert first > 0
    model = load(source)
    tokens = calibration_tokens(calibration, model.tokenizer, model.config, 0).tokens
    x = inputs_of(model.model, first - 1, "mlp.down_proj", tokens)
    states = states_after(model.model, tokens)
    delta = ridge_lstsq(x, states[last] - states[first - 1]).T
    expected = only_blocks(str(source), [i for i in range(6) if i not in (first, last)])
    layer = blocks(expected.model)[first - 1].mlp.down_proj
    layer.weight = layer.weight + mx.array(delta.astype(np.float32))
    found, _ = mlx_lm.load(str(tmp_path / "out"))
    np.testing.assert_allclose(
        np.array(found(mx.array(TOKENS))), np.array(expected.model(mx.array(TOKENS))), atol=3e-3
    )
    (entry,) = report.repair["blocks"]
    norm = np.linalg.norm(states[last])
    assert entry["block"] == first - 1
    assert entry["without"] == pytest.approx(
        np.linalg.norm(states[last] - states[first - 1]) / norm, rel=1e-3
    )
    rest = states[last] - states[first - 1] - x @ delta.T
    assert entry["repaired"] == pytest.approx(np.linalg.norm(rest) / norm, rel=1e-3)


def test_a_later_gap_is_repaired_on_what_the_earlier_repair_brings(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=7, seed=2)
    recipe = StructuredRecipe("depth", 0.43, repair=True, calibration=calibration)
    report = prune_structured(source, tmp_path / "memory", recipe)
    assert report.removed["blocks"]["removed"] == [3, 5, 6]
    assert [entry["block"] for entry in report.repair["blocks"]] == [2, 4]
    assert all(entry["repaired"] < entry["without"] for entry in report.repair["blocks"])
    model = load(source)
    tokens = calibration_tokens(calibration, model.tokenizer, model.config, 0).tokens
    for before, last, gone in ((2, 3, {3}), (3, 5, {4, 5})):
        x = inputs_of(model.model, before, "mlp.down_proj", tokens)
        states = states_after(model.model, tokens)
        delta = ridge_lstsq(x, states[last] - states[before]).T
        layer = blocks(model.model)[before].mlp.down_proj
        layer.weight = layer.weight + mx.array(delta.astype(np.float32))
        inner = model.model.model
        inner.layers = [block for index, block in enumerate(inner.layers) if index not in gone]
    found, _ = mlx_lm.load(str(tmp_path / "memory"))
    np.testing.assert_allclose(
        np.array(found(mx.array(TOKENS))), np.array(model.model(mx.array(TOKENS))), atol=3e-3
    )
    # With hidden states on disk, the same bytes.
    prune_structured(source, tmp_path / "disk", recipe, hidden_limit=0)
    name = "model.safetensors"
    assert (tmp_path / "disk" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes()
    assert not list((tmp_path / "disk").glob("hidden*"))


def test_a_norm_behind_the_projection_makes_repair_of_depth_impossible(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "gemma2", num_hidden_layers=4)
    recipe = StructuredRecipe("depth", 0.25, repair=True, calibration=calibration)
    with pytest.raises(RecipeError, match="leave repair out"):
        prune_structured(source, tmp_path / "out", recipe)
    assert list(tmp_path.iterdir()) == [source]
