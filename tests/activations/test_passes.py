"""Activation statistics against the model's own full forward, and against a float64 reference."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_unflatten
from narrowed_reference import Recorder
from stock_logits import assert_close
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.activations import passes as calibration_module
from mlx_prune.activations.blocks import capture
from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.passes import calibrate
from mlx_prune.activations.statistics import SquareSums, square_sums
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import blocks, prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import CheckpointError
from mlx_prune.kernels import portable
from mlx_prune.runs.fingerprint import model_fingerprint


def inputs_in_full_forward(model: nn.Module, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """What every linear receives, [tokens, features] float64, in one plain forward of the whole model."""
    linears = prunable_linears(model)
    recorders = {linear.name: Recorder(linear.module) for linear in linears}
    model.update_modules(tree_unflatten(list(recorders.items())))
    mx.eval(model(mx.array(tokens)))
    model.update_modules(tree_unflatten([(linear.name, linear.module) for linear in linears]))
    return {name: np.concatenate(recorder.inputs) for name, recorder in recorders.items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_statistics_equal_those_of_the_full_forward(tmp_path, architecture, calibration, monkeypatch):
    model = load(save_tiny_model(tmp_path / "m", architecture, seed=3))
    data = calibration_tokens(calibration, model.tokenizer, model.config, 0)
    expected = inputs_in_full_forward(model.model, data.tokens)
    for sequences_per_batch in (2, 7):
        monkeypatch.setattr(calibration_module, "batch_size", lambda *_, n=sequences_per_batch: n)
        found = calibrate(model, calibration)
        assert found.sums.keys() == expected.keys()
        for name, inputs in expected.items():
            assert found.sums[name].count == inputs.shape[0] == data.tokens.size
            np.testing.assert_allclose(
                np.array(found.sums[name].root_mean_square()),
                np.sqrt(np.square(inputs).mean(axis=0)),
                rtol=3e-5,
            )


def test_statistics_leave_the_model_as_it_was(tmp_path, calibration):
    model = load(save_tiny_model(tmp_path / "m", "llama"))
    tokens = mx.array([[5, 6, 7, 8]])
    before, kinds = np.array(model.model(tokens)), [type(block) for block in blocks(model.model)]
    weights = model_fingerprint(model.model)
    calibrate(model, calibration)
    assert model_fingerprint(model.model) == weights
    assert_close(np.array(model.model(tokens)), before)
    assert [type(block) for block in blocks(model.model)] == kinds
    assert all(type(linear.module) is nn.Linear for linear in prunable_linears(model.model))


def test_layers_with_one_input_reduce_it_once(tmp_path, calibration, monkeypatch):
    model = load(save_tiny_model(tmp_path / "m", "llama"))
    reductions = []
    original = square_sums
    monkeypatch.setattr(
        "mlx_prune.activations.passes.square_sums", lambda x: reductions.append(x.shape) or original(x)
    )
    calibrate(model, calibration)
    # q, k, v share one; gate and up another; o_proj and down_proj have their own.
    assert len(reductions) == 4 * len(blocks(model.model))


def test_activations_that_are_not_finite_stop_with_the_layer(tmp_path, calibration):
    model = load(save_tiny_model(tmp_path / "m", "llama"))
    model.model.model.layers[1].mlp.up_proj.weight = mx.full(
        model.model.model.layers[1].mlp.up_proj.weight.shape, 1e38
    )
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.down_proj"):
        calibrate(model, calibration)


def test_a_model_that_works_between_its_blocks_is_refused(tmp_path):
    model = load(save_tiny_model(tmp_path / "m", "llama"))

    class Doubling(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        @property
        def layers(self):
            return self.inner.layers

        def __call__(self, tokens):
            h = self.inner.embed_tokens(tokens)
            for layer in self.inner.layers:
                h = layer(h, None) * 2
            return h

    with pytest.raises(CheckpointError, match="between its blocks"):
        capture(Doubling(model.model.model), mx.array([[1, 2, 3]]))


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (3, 700, 33), (2, 3, 5, 9)])
def test_square_sums_equal_float64(dtype, shape):
    x = mx.array(np.random.default_rng(11).normal(0.5, 2, shape).astype(np.float32)).astype(dtype)
    exact = np.square(np.array(x.astype(mx.float32)).astype(np.float64)).reshape(-1, shape[-1]).sum(axis=0)
    found = square_sums(x)
    assert found.sums.dtype == mx.float32
    assert found.count == x.size // shape[-1]
    np.testing.assert_allclose(np.array(found.sums), exact, rtol=2e-6)
    np.testing.assert_allclose(np.array(portable.sum_of_squares(x.reshape(-1, shape[-1]))), exact, rtol=2e-6)


def test_square_sums_and_their_counts_add_up():
    # Sums that float32 holds exactly.
    a, b = SquareSums(mx.array([1.5, 2.25]), 3), SquareSums(mx.array([0.25, 1e6]), 4)
    total = a + b
    assert total.count == 7
    assert total.sums.tolist() == [1.75, 1000002.25]


def test_masks_are_shared_by_batches_of_one_shape(tmp_path, calibration_file, monkeypatch):
    # gemma2 hands every block a mask of [length, length].
    model = load(save_tiny_model(tmp_path / "m", "gemma2"))
    monkeypatch.setattr(calibration_module, "batch_size", lambda *_: 1)
    seen = []
    original = calibration_module.replay
    monkeypatch.setattr(
        calibration_module, "replay", lambda b, h, call: seen.append(id(call.args[0])) or original(b, h, call)
    )
    calibrate(model, Calibration(calibration_file, samples=5, sequence_length=20))
    assert len(seen) == 15
    assert len(set(seen)) == 1
