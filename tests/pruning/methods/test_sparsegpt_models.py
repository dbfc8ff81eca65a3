"""Whole models after SparseGPT: what a plain reference finds block by block, and what is written of it."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from block_reference import block_inputs, first_hidden
from planned_zeros import planned_zeros
from sparsegpt_reference import sparsegpt
from stock_logits import TOKENS, assert_stock_mlx_lm_agrees
from stored_bits import read_bits
from tiny_models import ARCHITECTURES, save_tiny_model, weight_files

from mlx_prune.activations.passes import calibrate
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.matrices import blocks, prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.counts import prune_count
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.saving import save


@pytest.mark.parametrize("statistics", ["sequential", "dense"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_is_pruned_block_by_block_as_by_the_reference(
    tmp_path, architecture, statistics, calibration
):
    folder = save_tiny_model(tmp_path / "m", architecture, num_hidden_layers=2, seed=5)
    pruned, reference = load(folder), load(folder)
    recipe = Recipe("sparsegpt", 0.5, statistics=statistics, calibration=calibration)
    report = prune(pruned, recipe)
    tokens = calibration_tokens(calibration, pruned.tokenizer, pruned.config, 0).tokens
    hidden = first_hidden(reference, tokens)
    after = {linear.name: np.array(linear.weight) for linear in prunable_linears(pruned.model)}
    linears = prunable_linears(reference.model)
    swapped = 0
    for index, block in enumerate(blocks(reference.model)):
        inside = [linear for linear in linears if linear.block == index]
        inputs, outputs = block_inputs(block, inside, hidden)
        for linear in inside:
            before = np.array(linear.weight)
            count = prune_count(before.size, 0.5)
            expected, mask = sparsegpt(before, inputs[linear.name], zeros_by=[count])
            ours = after[linear.name]
            assert (ours == 0).sum() == count
            # A weight within float32's rounding of the threshold may go in another's place, and then the rows
            # of both come out differently.
            rows = ((ours == 0) != mask).any(axis=1)
            swapped += int(((ours == 0) != mask).sum())
            np.testing.assert_allclose(ours[~rows], expected[~rows], atol=1e-3 * np.abs(expected).max())
            if statistics == "sequential":
                linear.set_weight(mx.array(ours))
        if statistics == "sequential":
            _, outputs = block_inputs(block, inside, hidden)
        hidden = outputs
    assert swapped <= 2
    assert report.zero_params == sum(
        planned_zeros(linear.out_features, linear.in_features, recipe) for linear in linears
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_memory_and_both_folders_hold_the_same_weights(tmp_path, architecture, dtype, calibration):
    source = save_tiny_model(tmp_path / "m", architecture, dtype=dtype, shards=3)
    recipe = Recipe("sparsegpt", pattern="2:4", calibration=calibration)
    streamed = prune_checkpoint(source, tmp_path / "streamed", recipe)
    model = load(source)
    report = prune(model, recipe)
    save(model, tmp_path / "saved", report)
    assert weight_files(tmp_path / "saved") == weight_files(tmp_path / "streamed")
    assert report.matrices == streamed.matrices
    assert_stock_mlx_lm_agrees(tmp_path / "saved", model)
    before, after = open_shards(source), open_shards(tmp_path / "saved")
    prunable = {f"{linear.name}.weight" for linear in prunable_linears(model.model)}
    for name, info in before.tensors.items():
        moved = after.tensors[name]
        assert (info.file.name, info.offset, info.dtype) == (moved.file.name, moved.offset, moved.dtype)
        same = np.array_equal(read_bits(before, name), read_bits(after, name))
        assert same == (name not in prunable)
    assert inspect(tmp_path / "saved").disagreements == ()


@pytest.mark.parametrize(
    ("stored", "compute"),
    [("float32", "bfloat16"), ("float16", "bfloat16"), ("bfloat16", "float16"), ("bfloat16", "float32")],
)
def test_what_is_measured_in_memory_is_what_is_saved(tmp_path, stored, compute, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", dtype=stored)
    model = load(source, dtype=compute)
    report = prune(model, Recipe("sparsegpt", 0.6, calibration=calibration))
    save(model, tmp_path / "out", report)
    again = load(tmp_path / "out", dtype=compute)
    for one, other in zip(prunable_linears(model.model), prunable_linears(again.model), strict=True):
        assert one.dtype == getattr(mx, compute)
        assert mx.array_equal(one.weight, other.weight)
    stored_as = {info.dtype for info in open_shards(tmp_path / "out").tensors.values()}
    assert stored_as == {{"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[stored]}


@pytest.mark.torch
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_transformers_loads_it_with_equal_logits(tmp_path, architecture, calibration):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    source = save_tiny_model(tmp_path / "m", architecture, shards=2)
    model = load(source)
    save(model, tmp_path / "out", prune(model, Recipe("sparsegpt", 0.5, calibration=calibration)))
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        logits = theirs(torch.tensor(TOKENS)).logits.numpy()
    np.testing.assert_allclose(logits, np.array(model.model(mx.array(TOKENS))), atol=5e-4)


def test_the_record_names_method_and_settings(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama")
    report = prune_checkpoint(source, tmp_path / "out", Recipe("sparsegpt", 0.5, calibration=calibration))
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta["method"] == "sparsegpt"
    assert meta["sparsegpt"] == {"damping": 0.01, "block_size": 128}
    assert meta["allocation"] is None
    assert meta["statistics"] == "sequential"
    assert meta["calibration"]["samples"] == 7
    assert meta["zero_params"] == report.zero_params
    assert report.warnings == ()
    magnitude = prune_checkpoint(source, tmp_path / "magnitude", Recipe("magnitude", 0.5))
    assert magnitude.to_json()["sparsegpt"] is None


def test_saving_refuses_weights_that_were_touched_afterwards(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", dtype="bfloat16")
    report = prune(load(source), Recipe("sparsegpt", 0.5, calibration=calibration))
    dense = load(source)
    with pytest.raises(CheckpointError, match="is not as SparseGPT left it"):
        save(dense, tmp_path / "out", report)
    # In the wider type: a factor of 1.001 is less than half a step of bfloat16.
    touched = load(source, dtype="float32")
    report = prune(touched, Recipe("sparsegpt", 0.5, calibration=calibration))
    layer = prunable_linears(touched.model)[2]
    layer.set_weight(layer.weight * 1.001)
    with pytest.raises(CheckpointError, match="is not as SparseGPT left it"):
        save(touched, tmp_path / "out", report)
    assert not (tmp_path / "out").exists()


def test_sums_of_squares_do_not_serve_it(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama")
    statistics = calibrate(load(source), calibration)
    recipe = Recipe("sparsegpt", 0.5, statistics="dense", calibration=calibration)
    with pytest.raises(RecipeError, match="serve only"):
        prune(load(source), recipe, statistics=statistics)


def test_values_that_the_stored_type_cannot_hold_are_refused(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", dtype="float16")
    model = load(source, dtype="float32")
    first = prunable_linears(model.model)[0]
    first.set_weight(first.weight * 1e6)
    with pytest.raises(CheckpointError, match="too large for float16"):
        prune(model, Recipe("sparsegpt", 0.5, calibration=calibration))
