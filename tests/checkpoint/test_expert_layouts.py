"""Checkpoints of pruned mixtures of experts: in the source's layout wherever its matrices can be found."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from block_memory import peaks_by_depth
from mlx_lm.models import mixtral
from stock_logits import TOKENS, assert_stock_mlx_lm_agrees
from stored_bits import read_bits
from tiny_experts import MIXTURES, ONE_BY_ONE, save_tiny_experts
from tiny_models import weight_files

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.layout import layout_of
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.saving import save


@pytest.mark.parametrize("architecture", MIXTURES)
def test_every_expert_is_found_in_the_sources_files(tmp_path, architecture):
    source = save_tiny_experts(tmp_path / "m", architecture, shards=3, dtype="bfloat16", seed=3)
    model, shards = load(source, dtype="bfloat16"), open_shards(source)
    linears = prunable_linears(model.model)
    layout = layout_of(shards, linears, model.model)
    assert layout.name == "source"
    for linear in linears:
        place = layout.places[linear.name]
        shape = (linear.out_features, linear.in_features)
        assert mx.array_equal(shards.tensors[place.tensor].read(place.start, shape), linear.weight)


@pytest.mark.parametrize(
    ("architecture", "dtype", "method"),
    [
        ("mixtral", "bfloat16", "wanda"),
        ("mixtral", "float32", "sparsegpt"),
        ("qwen3_moe", "float32", "wanda"),
        ("olmoe", "float16", "random"),
        ("deepseek_v3", "float32", "wanda"),
        ("granitemoe", "bfloat16", "wanda"),
        ("gpt_oss", "bfloat16", "wanda"),
    ],
)
def test_only_pruned_values_differ_from_the_source(tmp_path, architecture, dtype, method, calibration):
    source = save_tiny_experts(tmp_path / "m", architecture, dtype=dtype, shards=3)
    more = {} if method == "random" else {"calibration": calibration}
    recipe = Recipe(method, 0.5, **more)
    report = prune_checkpoint(source, tmp_path / "streamed", recipe)
    assert report.layout == "source"
    model = load(source)
    in_memory = prune(model, recipe)
    assert in_memory.matrices == report.matrices
    save(model, tmp_path / "saved", in_memory)
    assert weight_files(tmp_path / "saved") == weight_files(tmp_path / "streamed")
    assert_stock_mlx_lm_agrees(tmp_path / "streamed", model)
    before, after = open_shards(source), open_shards(tmp_path / "streamed")
    layout = layout_of(before, prunable_linears(model.model), model.model)
    pruned = {place.tensor for place in layout.places.values()}
    for name, info in before.tensors.items():
        old, new = read_bits(before, name), read_bits(after, name)
        moved = after.tensors[name]
        assert (info.file.name, info.offset, info.dtype) == (moved.file.name, moved.offset, moved.dtype)
        if name not in pruned:
            np.testing.assert_array_equal(old, new)
        elif method != "sparsegpt":
            assert ((new == old) | (new == 0)).all()
            assert (new == 0).mean() > 0.3
    found = inspect(tmp_path / "streamed")
    assert found.disagreements == ()
    assert found.actual_sparsity == report.actual_sparsity


@pytest.mark.torch
@pytest.mark.parametrize("architecture", [*ONE_BY_ONE, "granitemoe"])
def test_transformers_loads_it_with_equal_logits(tmp_path, architecture, calibration):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    source = save_tiny_experts(tmp_path / "m", architecture, shards=2)
    model = load(source)
    report = prune(model, Recipe("wanda", 0.5, calibration=calibration))
    save(model, tmp_path / "out", report)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    )
    with torch.no_grad():
        logits = theirs(torch.tensor(TOKENS)).logits.numpy()
    np.testing.assert_allclose(logits, np.array(model.model(mx.array(TOKENS))), atol=2e-4)


class Stop(Exception):
    pass


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("architecture", ["mixtral", "granitemoe"])
def test_an_interrupted_prune_carries_on_to_the_same_bytes(tmp_path, architecture, method, calibration_file):
    source = save_tiny_experts(tmp_path / "m", architecture, shards=2, num_local_experts=8)
    # Few tokens, so that some experts see none: they must be remembered, too.
    more = {} if method == "magnitude" else {"calibration": Calibration(calibration_file, 1, 3)}
    recipe = Recipe(method, 0.5, **more)
    whole = prune_checkpoint(source, tmp_path / "whole", recipe)
    assert (whole.unseen == ()) == (method == "magnitude")

    def stop(told):
        if told.done == 2:
            raise Stop

    with pytest.raises(Stop):
        prune_checkpoint(source, tmp_path / "out", recipe, progress=stop)
    told = []
    resumed = prune_checkpoint(source, tmp_path / "out", recipe, progress=told.append)
    assert [p.done for p in told] == [2, 3]
    assert weight_files(tmp_path / "out") == weight_files(tmp_path / "whole")
    assert (resumed.matrices, resumed.unseen) == (whole.matrices, whole.unseen)
    # What is finished is read back, not done again.
    again = prune_checkpoint(source, tmp_path / "out", recipe)
    assert (again.matrices, again.unseen, again.warnings) == (whole.matrices, whole.unseen, whole.warnings)


def with_sanitize(monkeypatch, change):
    """Let Mixtral's loading do something else to its stacks of experts."""
    original = mixtral.Model.sanitize

    def sanitize(self, weights):
        stacked = any(".switch_mlp." in name for name in weights)
        weights = original(self, weights)
        if stacked:  # written in mlx-lm's layout: nothing is left to be done
            return weights
        return {
            name: change(values) if ".switch_mlp." in name else values for name, values in weights.items()
        }

    monkeypatch.setattr(mixtral.Model, "sanitize", sanitize)


def test_experts_in_another_order_are_followed(tmp_path, monkeypatch, calibration):
    with_sanitize(monkeypatch, lambda stack: stack[::-1])
    source = save_tiny_experts(tmp_path / "m", "mixtral")
    model = load(source)
    recipe = Recipe("wanda", 0.5, calibration=calibration)
    save(model, tmp_path / "saved", prune(model, recipe))
    assert prune_checkpoint(source, tmp_path / "out", recipe).layout == "source"
    assert weight_files(tmp_path / "saved") == weight_files(tmp_path / "out")
    assert_stock_mlx_lm_agrees(tmp_path / "out", model)


@pytest.mark.parametrize(
    "change",
    [
        lambda stack: stack[:, ::-1],
        lambda stack: stack * 2,
        # The numbered stand-ins pass, the real weights do not agree.
        lambda stack: stack if stack.dtype == mx.int32 else stack * 2,
        lambda stack: stack if stack.dtype == mx.int32 else stack[::-1],
    ],
    ids=["permuted rows", "scaled", "floats scaled", "floats reordered"],
)
def test_experts_that_are_not_in_the_source_as_they_stand_go_to_mlx_lms_layout(
    tmp_path, monkeypatch, calibration, change
):
    with_sanitize(monkeypatch, change)
    source = save_tiny_experts(tmp_path / "m", "mixtral", dtype="bfloat16")
    model = load(source)
    recipe = Recipe("wanda", 0.5, scope="paper", calibration=calibration)
    report = prune(model, recipe)
    save(model, tmp_path / "saved", report)
    streamed = prune_checkpoint(source, tmp_path / "out", recipe)
    assert streamed.layout == "mlx"
    assert any("transformers does not" in sentence for sentence in streamed.warnings)
    assert streamed.matrices == report.matrices
    assert weight_files(tmp_path / "saved") == weight_files(tmp_path / "out")
    assert_stock_mlx_lm_agrees(tmp_path / "out", model)
    assert inspect(tmp_path / "out").disagreements == ()


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_peak_memory_stays_below_three_blocks_of_experts(tmp_path, method, calibration):
    sizes = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 192, "num_local_experts": 16}
    recipe = (
        Recipe("magnitude", 0.5) if method == "magnitude" else Recipe("wanda", 0.5, calibration=calibration)
    )
    peaks, block = peaks_by_depth(
        (2, 6),
        lambda depth: save_tiny_experts(tmp_path / str(depth), "mixtral", **sizes, num_hidden_layers=depth),
        lambda source, depth: prune_checkpoint(source, tmp_path / f"out-{depth}", recipe, cache=False),
    )
    assert peaks[6] < (1 if method == "magnitude" else 3) * block
