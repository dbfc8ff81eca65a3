"""Whatever is trained, the zeros of a pruned model are the same bits in the same places afterwards."""

from __future__ import annotations

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from recovering import pruned_copy, recovered_copy, short, stored, values, write_text
from stock_logits import TOKENS
from tiny_experts import save_tiny_experts
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.pruning.experts.recipe import ExpertsRecipe
from mlx_prune.pruning.job import write_pruned
from mlx_prune.pruning.structured_recipe import StructuredRecipe
from mlx_prune.recovery.data import training_data
from mlx_prune.recovery.layers import with_zeros_of


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


def blocks_of(weights):
    return {name for name in weights if ".layers." in name and weights[name].ndim > 1}


def check_same_zeros(pruned, recovered):
    before, after = values(pruned), values(recovered)
    bits_before, bits_after = stored(pruned), stored(recovered)
    changed = 0
    for name in before:
        np.testing.assert_array_equal(before[name] == 0, after[name] == 0)
        zero = before[name] == 0
        np.testing.assert_array_equal(bits_before[name][zero], bits_after[name][zero])
        if name in blocks_of(before):
            changed += bool((before[name] != after[name]).any())
        else:
            np.testing.assert_array_equal(bits_before[name], bits_after[name])
    assert changed == len(blocks_of(before))
    assert inspect(recovered).disagreements == ()


def check_stock_mlx_lm_has_the_recorded_loss(folder, text, record):
    """The next-token loss of what mlx-lm itself loads, in float64."""
    network, tokenizer = mlx_lm.load(str(folder))
    network.set_dtype(mx.float32)
    length = record.recovery.data["sequence_length"]
    tokens = training_data(text, tokenizer, Checkpoint(folder).config, short(sequence_length=length)).held_out
    logits = np.array(network(mx.array(tokens[:, :-1])), np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
    assert record.recovery.held_out["recovered"]["loss"] == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_zeros_stay_in_five_architectures(tmp_path, architecture, full, text):
    dense = save_tiny_model(tmp_path / "dense", architecture, dtype="bfloat16", seed=3)
    pruned = pruned_copy(dense, tmp_path / "pruned")
    record = recovered_copy(pruned, tmp_path / "out", text, full=full, first_step="auto")
    check_same_zeros(pruned, tmp_path / "out")
    check_stock_mlx_lm_has_the_recorded_loss(tmp_path / "out", text, record)


@pytest.mark.parametrize("full", [False, True])
def test_a_pattern_stays(tmp_path, full, text):
    dense = save_tiny_model(tmp_path / "dense", "llama", hidden_size=48, intermediate_size=64, head_dim=16)
    pruned = pruned_copy(dense, tmp_path / "pruned", pattern="2:4")
    recovered_copy(pruned, tmp_path / "out", text, full=full)
    check_same_zeros(pruned, tmp_path / "out")
    for name in blocks_of(after := values(tmp_path / "out")):
        groups = after[name].reshape(-1, 4)
        assert (groups == 0).sum(axis=1).min() == 2 == (groups == 0).sum(axis=1).max()


@pytest.mark.parametrize("full", [False, True])
def test_zeros_of_experts_stay(tmp_path, full, text):
    dense = save_tiny_experts(tmp_path / "dense", "qwen3_moe")
    pruned = pruned_copy(dense, tmp_path / "pruned")
    recovered_copy(pruned, tmp_path / "out", text, full=full, steps=6, first_step="auto")
    before, after = values(pruned), values(tmp_path / "out")
    routers = {name for name in before if name.endswith("mlp.gate.weight")}
    assert routers
    for name in before:
        np.testing.assert_array_equal(before[name] == 0, after[name] == 0)
        same = (before[name] == after[name]).all()
        assert same == (name not in blocks_of(before) or name in routers)
    assert inspect(tmp_path / "out").disagreements == ()


def test_a_mixture_with_fewer_experts_learns_and_its_routers_stay(tmp_path, text):
    dense = save_tiny_experts(tmp_path / "dense", "qwen3_moe")
    recipe = ExpertsRecipe("experts", 0.4, calibration=Calibration(text, 7, 29))
    write_pruned(dense, tmp_path / "pruned", recipe)
    record = recovered_copy(tmp_path / "pruned", tmp_path / "out", text, steps=20, learning_rate=0.0002)
    before, after = values(tmp_path / "pruned"), values(tmp_path / "out")
    for name in before:
        np.testing.assert_array_equal(before[name] == 0, after[name] == 0)
        same = (before[name] == after[name]).all()
        assert same == (name not in blocks_of(before) or name.endswith("mlp.gate.weight"))
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < losses["pruned"]["divergence"]
    assert inspect(tmp_path / "out").disagreements == ()
    check_stock_mlx_lm_has_the_recorded_loss(tmp_path / "out", text, record)


@pytest.mark.torch
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_transformers_loads_it_with_the_logits_of_stock_mlx_lm(tmp_path, architecture, text):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    dense = save_tiny_model(tmp_path / "dense", architecture, shards=2)
    pruned = pruned_copy(dense, tmp_path / "pruned")
    recovered_copy(pruned, tmp_path / "out", text, first_step="auto")
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        logits = theirs(torch.tensor(TOKENS)).logits.numpy()
    ours, _ = mlx_lm.load(str(tmp_path / "out"))
    np.testing.assert_allclose(logits, np.array(ours(mx.array(TOKENS))), rtol=0, atol=2e-4)
    before, _ = mlx_lm.load(str(pruned))
    assert np.abs(logits - np.array(before(mx.array(TOKENS)))).max() > 0.01


@pytest.mark.parametrize("method", ["width", "depth"])
def test_a_smaller_model_learns_from_the_whole_one(tmp_path, method, text):
    dense = save_tiny_model(tmp_path / "dense", "llama", num_hidden_layers=4, intermediate_size=96)
    sparsity = 0.5 if method == "width" else 0.25
    recipe = StructuredRecipe(method, sparsity, calibration=Calibration(text, 7, 29))
    write_pruned(dense, tmp_path / "pruned", recipe)
    record = recovered_copy(tmp_path / "pruned", tmp_path / "out", text, steps=20)
    assert {name: array.shape for name, array in values(tmp_path / "pruned").items()} == {
        name: array.shape for name, array in values(tmp_path / "out").items()
    }
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < losses["pruned"]["divergence"]
    assert record.smaller
    assert inspect(tmp_path / "out").disagreements == ()
    check_stock_mlx_lm_has_the_recorded_loss(tmp_path / "out", text, record)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_negative_zeros_and_weights_that_would_round_to_zero(dtype):
    kind = getattr(mx, dtype)
    original = mx.array([[0.0, -0.0, 0.5, -0.25, 2.0]]).astype(kind)
    found = with_zeros_of(original, mx.array([[1.0, 1.0, 1e-46, -0.0, 3.0]]))
    expected = mx.array([[0.0, -0.0, 0.5, -0.25, 3.0]]).astype(kind)
    bits = {2: mx.uint16, 4: mx.uint32}[kind.size]
    assert found.dtype == kind
    assert mx.array_equal(found.view(bits), expected.view(bits)).item()
