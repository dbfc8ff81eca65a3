"""Quantized models are trained back by adapters beside their weights, which keep every bit."""

from __future__ import annotations

import json

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from recovering import pruned_copy, recovered_copy, short, write_text
from tiny_experts import save_tiny_experts
from tiny_models import save_tiny_model, weight_files

from mlx_prune.activations.calibration import Calibration
from mlx_prune.cards.card import CARD_FILE
from mlx_prune.checkpoint.adapters import ADAPTERS_CONFIG, ADAPTERS_FILE
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.job import write_copy
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structured_recipe import StructuredRecipe
from mlx_prune.recovery import training
from mlx_prune.recovery.data import training_data
from mlx_prune.recovery.files import STATE_FILE

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 16}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "dense", "llama", seed=5, **SIZES)


def quantized_copy(source, out, recipe=None, mode="affine", bits=4):
    write_copy(source, out, recipe, Quantization(mode, bits if mode == "affine" else None, 32))
    return out


@pytest.fixture(scope="module")
def quantized(dense, text, tmp_path_factory):
    recipe = Recipe("wanda", 0.5, calibration=Calibration(text, 7, 29))
    return quantized_copy(dense, tmp_path_factory.mktemp("q") / "wanda-q4", recipe)


def logits_of(network, tokens):
    return np.array(network(mx.array(tokens)).astype(mx.float32), np.float64)


def check_stock_mlx_lm_loads_it(folder, text, record):
    """With the adapters: the logits that this package computes, and the recorded loss in float64."""
    network, tokenizer = mlx_lm.load(str(folder), adapter_path=str(folder))
    network.set_dtype(mx.float32)
    length = record.recovery.data["sequence_length"]
    tokens = training_data(text, tokenizer, Checkpoint(folder).config, short(sequence_length=length)).held_out
    logits = logits_of(network, tokens[:, :-1])
    own = Checkpoint(folder).load("float32")
    np.testing.assert_allclose(logits_of(own.model, tokens[:, :-1]), logits, rtol=0, atol=1e-4)
    logits -= logits.max(axis=-1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
    assert record.recovery.held_out["recovered"]["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    without = logits_of(mlx_lm.load(str(folder))[0], tokens[:, :-1])
    assert np.abs(without - logits_of(own.model, tokens[:, :-1])).max() > 1e-3


def test_the_loss_falls_and_no_bit_of_the_weights_changes(quantized, text, tmp_path):
    out = tmp_path / "out"
    record = recovered_copy(quantized, out, text, steps=40, rank=8)
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < 0.9 * losses["pruned"]["divergence"]
    assert weight_files(out) | {ADAPTERS_FILE: b""} == weight_files(quantized) | {ADAPTERS_FILE: b""}
    assert record.method == "wanda+q4-g32+recover"
    assert record.recovery.adapter_bytes == (out / ADAPTERS_FILE).stat().st_size
    assert "adapters of rank 8 beside the quantized weights" in record.recovery.did
    assert inspect(out).disagreements == ()
    assert inspect(out).actual_sparsity == inspect(quantized).actual_sparsity > 0.3
    assert "load(folder, adapter_path=folder)" in (out / CARD_FILE).read_text()
    check_stock_mlx_lm_loads_it(out, text, record)


@pytest.mark.parametrize("mode", ["mxfp4", "q8", "width", "experts"])
def test_other_formats_smaller_models_and_experts(dense, text, tmp_path, mode):
    recipe, source = None, dense
    if mode == "width":
        recipe = StructuredRecipe("width", 0.3, multiple=32, calibration=Calibration(text, 7, 29))
    if mode == "experts":
        sizes = {"hidden_size": 64, "moe_intermediate_size": 64, "intermediate_size": 64}
        source = save_tiny_experts(tmp_path / "experts", "qwen3_moe", **sizes)
        recipe = Recipe("magnitude", 0.5)
    if mode == "q8":
        recipe = Recipe("magnitude", 0.4)
    format_ = "mxfp4" if mode == "mxfp4" else "affine"
    quantized = quantized_copy(source, tmp_path / "q", recipe, format_, 8 if mode == "q8" else 4)
    record = recovered_copy(quantized, tmp_path / "out", text, steps=16, rank=4)
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < losses["pruned"]["divergence"]
    check_stock_mlx_lm_loads_it(tmp_path / "out", text, record)


def test_what_was_stopped_carries_on_to_the_same_adapters(quantized, text, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stopping(self, step_of, original=training.Training._step):
        if self.progressed.step == 5:
            raise Stopped
        return original(self, step_of)

    recovered_copy(quantized, tmp_path / "whole", text)
    with monkeypatch.context() as patched:
        patched.setattr(training, "_SECONDS_BETWEEN_STATES", 0.0)
        patched.setattr(training, "_TIMES_OF_A_STATE", 0.0)
        patched.setattr(training.Training, "_step", stopping)
        with pytest.raises(Stopped):
            recovered_copy(quantized, tmp_path / "out", text)
    assert (tmp_path / ".out.partial" / STATE_FILE).is_file()
    recovered_copy(quantized, tmp_path / "out", text)
    one, other = (mx.load(str(tmp_path / name / ADAPTERS_FILE)) for name in ("whole", "out"))
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_allclose(np.array(values), np.array(other[name]), rtol=0, atol=1e-6)


def test_what_would_change_quantized_weights_is_refused(quantized, text, tmp_path):
    for settings in ({"full": True}, {"first_step": "least-squares"}):
        with pytest.raises(RecipeError, match="are quantized; leave it out"):
            recovered_copy(quantized, tmp_path / "out", text, **settings)


def test_adapters_belong_to_the_model(quantized, text, tmp_path):
    out = tmp_path / "out"
    recovered_copy(quantized, out, text)
    checkpoint = Checkpoint(out)
    assert checkpoint.quick_hash != Checkpoint(quantized).quick_hash
    assert checkpoint.nbytes == Checkpoint(quantized).nbytes + (out / ADAPTERS_FILE).stat().st_size
    # Somebody's own adapters, beside a model whose record knows nothing of them.
    (pruned := pruned_copy(save_tiny_model(tmp_path / "m", "llama"), tmp_path / "pruned"))
    (pruned / ADAPTERS_CONFIG).write_text((out / ADAPTERS_CONFIG).read_text())
    assert Checkpoint(pruned).adapters is None
    (out / ADAPTERS_CONFIG).write_text(json.dumps({"num_layers": 3, "lora_parameters": {}}))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        checkpoint.load()
    (out / ADAPTERS_FILE).unlink()
    with pytest.raises(CheckpointError, match="is missing, which belongs to"):
        Checkpoint(out).load()
