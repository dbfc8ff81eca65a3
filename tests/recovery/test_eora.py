"""EoRA as a first step: the low-rank update in the inputs' eigenspace, merged under a mask or left beside."""

from __future__ import annotations

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recovering import pruned_copy, recovered_copy, short, values, write_text
from tiny_experts import save_tiny_experts
from tiny_models import save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.statistics import gram_sums
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.job import write_copy
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structured_recipe import StructuredRecipe
from mlx_prune.recovery import first_step, job
from mlx_prune.recovery.eora import low_rank, under_mask

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 16}


def published(difference, x, rank):
    """EoRA as its paper writes it, in float64: the update in the eigenspace of the inputs, and back."""
    values_, vectors = np.linalg.eigh(x.T @ x)
    space = vectors * np.sqrt(np.maximum(values_, 1e-12 * values_[-1]))
    u, s, vt = np.linalg.svd(difference @ space, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank] @ np.linalg.inv(space)


def problem(rows, columns, tokens, decay, seed=0):
    """A difference, and inputs whose later features say less."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, columns)) * np.exp(-decay * np.arange(columns) / columns)
    return rng.standard_normal((rows, columns)), x


def as_arrays(difference, x):
    return mx.array(difference, mx.float32), gram_sums(mx.array(x, mx.float32))


@pytest.mark.parametrize(
    ("rows", "columns", "rank", "decay"), [(40, 30, 5, 3), (70, 90, 8, 3), (90, 40, 16, 0), (50, 50, 1, 1)]
)
def test_the_update_is_the_published_one(rows, columns, rank, decay):
    difference, x = problem(rows, columns, 400, decay)
    left, right = low_rank(*as_arrays(difference, x), rank)
    assert left.shape == (rows, rank)
    expected = published(difference, x, rank)
    found = np.array(left, np.float64) @ np.array(right, np.float64)
    wrong, best = (np.linalg.norm((difference - update) @ x.T) for update in (found, expected))
    assert wrong == pytest.approx(best, rel=1e-4)
    np.testing.assert_allclose(
        np.linalg.norm((found - expected) @ x.T), 0, atol=0.02 * np.linalg.norm(expected @ x.T)
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 24), st.integers(2, 24), st.integers(1, 60), st.integers(0, 1000))
def test_at_full_rank_nothing_is_missing(rows, columns, tokens, seed):
    difference, x = problem(rows, columns, tokens, 1, seed)
    left, right = low_rank(*as_arrays(difference, x), max(rows, columns))
    found = np.array(left, np.float64) @ np.array(right, np.float64)
    if rows <= columns:
        np.testing.assert_allclose(found, difference, rtol=0, atol=1e-4)
    scale = np.abs(difference @ x.T).max()
    np.testing.assert_allclose(found @ x.T, difference @ x.T, rtol=0, atol=1e-3 * scale)


def test_under_a_mask_zeros_stay_and_no_row_becomes_worse():
    dense, x = problem(40, 30, 300, 2)
    pruned = dense * (np.random.default_rng(1).random(dense.shape) < 0.5)
    weight, fit = under_mask(mx.array(pruned, mx.float32), *as_arrays(dense, x), 4)
    found = np.array(weight, np.float64)
    np.testing.assert_array_equal(found == 0, pruned == 0)
    before, after = (((dense - one) @ x.T) ** 2 for one in (pruned, found))
    assert (after.sum(axis=1) <= before.sum(axis=1) * (1 + 1e-5)).all()
    norm = ((dense @ x.T) ** 2).sum()
    assert (fit.before, fit.after) == pytest.approx((before.sum() / norm, after.sum() / norm), rel=1e-3)
    # Of the masked update no other length of a row is better.
    update = published(dense - pruned, x, 4) * (pruned != 0)
    moved, goal = update @ x.T, (dense - pruned) @ x.T
    length = (moved * goal).sum(axis=1) / (moved**2).sum(axis=1)
    best = ((goal - length[:, None] * moved) ** 2).sum(axis=1)
    np.testing.assert_allclose(after.sum(axis=1), best, rtol=1e-3)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt", words=3000)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "dense", "llama", seed=5, **SIZES)


@pytest.fixture(scope="module")
def quantized(dense, text, tmp_path_factory):
    out = tmp_path_factory.mktemp("q") / "wanda-q4"
    recipe = Recipe("wanda", 0.5, calibration=Calibration(text, 7, 29))
    write_copy(dense, out, recipe, Quantization("affine", 4, 32))
    return out


def test_quantized_weights_begin_with_it(quantized, text, tmp_path):
    out = tmp_path / "out"
    record = recovered_copy(quantized, out, text, first_step="auto", steps=0, rank=16)
    entry = record.entries["recovery"]["first_step"]
    assert (entry["method"], entry["taken"]) == ("eora", True)
    assert entry["error_after"] < 0.6 * entry["error_before"]
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < 0.6 * losses["pruned"]["divergence"]
    assert record.recovery.did == (
        "adapters of rank 16 computed from the difference to the dense model (EoRA)"
    )
    network = mlx_lm.load(str(out), adapter_path=str(out))[0]
    tokens = mx.array([[7, 91, 30, 8, 200, 13]])
    own = Checkpoint(out).load("float32").model
    np.testing.assert_allclose(np.array(own(tokens)), np.array(network(tokens)), rtol=0, atol=1e-4)


def test_at_full_rank_a_quantized_model_answers_as_the_dense_one(dense, quantized, text, tmp_path):
    record = recovered_copy(quantized, tmp_path / "out", text, first_step="eora", steps=0, rank=96)
    assert record.entries["recovery"]["first_step"]["error_after"] < 1e-6
    whole, few = (Checkpoint(folder).load("float32").model for folder in (dense, tmp_path / "out"))
    # Embedding and head have no updates, and so keep their few bits.
    whole.model.embed_tokens, whole.lm_head = few.model.embed_tokens, few.lm_head
    tokens = mx.array([[7, 91, 30, 8, 200, 13]])
    np.testing.assert_allclose(np.array(few(tokens)), np.array(whole(tokens)), rtol=0, atol=1e-3)


def test_training_carries_on_from_it(quantized, text, tmp_path):
    losses = {}
    for name, first in (("eora", "auto"), ("zero", "none")):
        record = recovered_copy(quantized, tmp_path / name, text, first_step=first, steps=6, rank=8)
        losses[name] = record.recovery.held_out
    assert losses["eora"]["pruned"]["divergence"] == pytest.approx(
        losses["zero"]["pruned"]["divergence"], rel=1e-4
    )
    assert losses["eora"]["recovered"]["divergence"] < losses["zero"]["recovered"]["divergence"]
    assert record.recovery.learning_rate == 0.002
    record = recovered_copy(
        quantized, tmp_path / "own", text, first_step="auto", steps=1, rank=8, learning_rate=None
    )
    assert record.recovery.learning_rate == 3e-4


def test_it_is_taken_once(quantized, text, tmp_path, monkeypatch):
    whole = recovered_copy(quantized, tmp_path / "whole", text, first_step="auto", steps=2)
    with monkeypatch.context() as patched:
        patched.setattr(job, "Training", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recovered_copy(quantized, tmp_path / "out", text, first_step="auto", steps=2)
    monkeypatch.setattr(first_step, "fit_network", lambda *_: 1 / 0)
    again = recovered_copy(quantized, tmp_path / "out", text, first_step="auto", steps=2)
    for of in ("pruned", "recovered"):
        assert again.recovery.held_out[of] == pytest.approx(whole.recovery.held_out[of], rel=1e-4)


def test_it_is_undone_where_the_held_out_loss_becomes_worse(quantized, text, tmp_path, monkeypatch):
    def spoil(network, *_):
        layer = network.model.layers[0].mlp.up_proj
        layer.lora_b = layer.lora_b + 9
        return {}

    monkeypatch.setattr(first_step, "fit_network", spoil)
    record = recovered_copy(quantized, tmp_path / "out", text, first_step="auto", steps=0)
    assert not record.entries["recovery"]["first_step"]["taken"]
    losses = record.recovery.held_out
    assert losses["recovered"] == pytest.approx(losses["pruned"], rel=1e-4)


@pytest.mark.parametrize("full", [False, True])
def test_for_masks_it_is_merged_on_request(dense, text, tmp_path, full):
    pruned = pruned_copy(dense, tmp_path / "pruned")
    record = recovered_copy(pruned, tmp_path / "out", text, first_step="eora", steps=0, rank=16, full=full)
    assert (
        "computed from the difference to the dense model (EoRA), merged under the mask" in record.recovery.did
    )
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < losses["pruned"]["divergence"]
    before, after = values(pruned), values(tmp_path / "out")
    assert all(((before[name] == 0) == (after[name] == 0)).all() for name in before)


def test_experts_have_updates_of_their_own(text, tmp_path):
    sizes = {"hidden_size": 64, "moe_intermediate_size": 64, "intermediate_size": 64}
    source = save_tiny_experts(tmp_path / "dense", "qwen3_moe", **sizes)
    write_copy(source, tmp_path / "q", None, Quantization("affine", 2, 32))
    record = recovered_copy(tmp_path / "q", tmp_path / "out", text, first_step="eora", steps=0, rank=8)
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < losses["pruned"]["divergence"]
    entry = record.entries["recovery"]["first_step"]
    assert entry["error_after"] < entry["error_before"]


def test_a_smaller_model_has_no_difference_to_take(dense, text, tmp_path):
    recipe = StructuredRecipe("width", 0.3, multiple=32, calibration=Calibration(text, 7, 29))
    write_copy(dense, tmp_path / "q", recipe, Quantization("affine", 4, 32))
    with pytest.raises(RecipeError, match="needs a dense teacher of the same shapes"):
        recovered_copy(tmp_path / "q", tmp_path / "out", text, first_step="eora")
    with pytest.raises(RecipeError, match="--first-step eora has no teacher"):
        recovered_copy(tmp_path / "q", tmp_path / "out", text, first_step="eora", loss="text")
    record = job.recover(tmp_path / "q", tmp_path / "out", data=text, settings=short(first_step="auto"))
    assert record.entries["recovery"]["first_step"] is None
