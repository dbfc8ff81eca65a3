"""The first step against exact solutions in float64, and in the command."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from recovering import dense_and_pruned, recovered_copy, short, stored, values, write_text
from tiny_models import save_tiny_model

from mlx_prune.activations.statistics import gram_sums
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import RecipeError
from mlx_prune.recovery import first_step, job, least_squares
from mlx_prune.recovery.data import TrainingData
from mlx_prune.recovery.least_squares import RIDGE, fitted, sample_of


def problem(seed, rows=7, columns=19, tokens=200):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((columns, columns))
    x = rng.standard_normal((tokens, columns)) @ mixing
    dense = rng.standard_normal((rows, columns))
    return x.astype(np.float32), dense.astype(np.float32), rng.random((rows, columns)) < 0.5


def exact(x, dense, mask):
    """Each row's own normal equations, solved in float64."""
    h = x.astype(np.float64).T @ x / len(x)
    ridge = RIDGE * h.diagonal().mean()
    found = np.where(mask, dense, 0).astype(np.float64)
    for row, kept in enumerate(mask):
        left = h[np.ix_(kept, kept)] + ridge * np.eye(kept.sum())
        right = (h @ (dense[row] - found[row]))[kept]
        found[row, kept] += np.linalg.solve(left, right)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_solved_as_their_normal_equations_say(seed):
    x, dense, mask = problem(seed)
    pruned = np.where(mask, dense, 0)
    found, fit = fitted(mx.array(pruned), mx.array(dense), gram_sums(mx.array(x)))
    expected = exact(x, dense, mask)
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=2e-3 * np.abs(expected).max())
    assert (np.array(found)[~mask] == 0).all()
    whole = np.square(x @ dense.T).sum()
    assert fit.before == pytest.approx(np.square(x @ (pruned - dense).T).sum() / whole, rel=1e-3)
    assert fit.after == pytest.approx(np.square(x @ (expected - dense).T).sum() / whole, rel=1e-2)
    assert fit.after < fit.before


def test_no_row_becomes_worse_and_empty_inputs_change_nothing():
    x, dense, mask = problem(3)
    pruned = np.where(mask, dense, 0)
    found, fit = fitted(mx.array(pruned), mx.array(dense), gram_sums(mx.zeros_like(mx.array(x))))
    np.testing.assert_array_equal(np.array(found), pruned)
    assert fit.before == fit.after == 0
    x[:, 3] = 0  # a feature that the text never shows
    found, _ = fitted(mx.array(pruned), mx.array(dense), gram_sums(mx.array(x)))
    np.testing.assert_array_equal(np.array(found)[:, 3], pruned[:, 3])


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt", words=3000)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return dense_and_pruned(tmp_path_factory.mktemp("models"), "mistral")


@pytest.mark.parametrize("most", [32_768, 500])
@pytest.mark.parametrize(("sequences", "length"), [(500, 64), (500, 7), (5, 64)])
def test_inputs_are_measured_on_sixteen_tokens_per_feature_from_all_over_the_text(
    models, sequences, length, most, monkeypatch
):
    monkeypatch.setattr(least_squares, "MOST_TOKENS", most)
    linears = prunable_linears(Checkpoint(models[1]).network("float32"))
    tokens = np.repeat(np.arange(sequences, dtype=np.int32)[:, None], length, axis=1)
    chosen = sample_of(TrainingData(tokens, tokens[:1], "text", "0"), linears).tokens[:, 0]
    enough = min(16 * max(linear.weight.shape[-1] for linear in linears), most)
    assert len(chosen) == min(np.ceil(enough / length), sequences)
    assert (chosen[0], chosen[-1]) == (0, sequences - 1)
    assert np.ptp(np.diff(chosen)) <= 1


def test_without_a_step_of_training_the_divergence_falls(models, text, tmp_path):
    record = recovered_copy(models[1], tmp_path / "out", text, first_step="auto", steps=0)
    entry = record.entries["recovery"]["first_step"]
    assert entry["taken"]
    assert entry["sequences"] == 61  # of 16 tokens, sixteen for each of 61 features
    assert entry["error_after"] < 0.8 * entry["error_before"]
    losses = record.recovery.held_out
    assert losses["recovered"]["divergence"] < 0.9 * losses["pruned"]["divergence"]
    assert losses["recovered"]["loss"] == pytest.approx(entry["held_out"]["loss"], rel=1e-5)
    before, after = values(models[1]), values(tmp_path / "out")
    assert all(((before[name] == 0) == (after[name] == 0)).all() for name in before)


def test_it_is_taken_once(models, text, tmp_path, monkeypatch):
    whole = recovered_copy(models[1], tmp_path / "whole", text, first_step="auto", steps=2)
    monkeypatch.setattr(job, "adapt", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recovered_copy(models[1], tmp_path / "out", text, first_step="auto", steps=2)
    monkeypatch.undo()
    monkeypatch.setattr(first_step, "fit_network", lambda *_: 1 / 0)
    again = recovered_copy(models[1], tmp_path / "out", text, first_step="auto", steps=2)
    for name, expected in values(tmp_path / "whole").items():
        np.testing.assert_allclose(values(tmp_path / "out")[name], expected, rtol=0, atol=1e-6)
    assert again.recovery.held_out["pruned"] == pytest.approx(whole.recovery.held_out["pruned"])
    assert not list((tmp_path / "out").glob("first-step*"))


def test_it_is_undone_where_the_held_out_loss_becomes_worse(models, text, tmp_path, monkeypatch):
    def spoil(network, *_):
        layer = network.model.layers[0].mlp.up_proj
        layer.weight = layer.weight * 50
        return {}

    monkeypatch.setattr(first_step, "fit_network", spoil)
    record = recovered_copy(models[1], tmp_path / "out", text, first_step="auto", steps=0)
    assert not record.entries["recovery"]["first_step"]["taken"]
    before, after = stored(models[1]), stored(tmp_path / "out")
    assert all((before[name] == after[name]).all() for name in before)


def test_it_needs_a_teacher_of_the_same_shapes(models, text, tmp_path):
    other = save_tiny_model(tmp_path / "other", "mistral", intermediate_size=77)
    settings = short(first_step="least-squares")
    with pytest.raises(RecipeError, match="needs a dense teacher of the same shapes"):
        job.recover(models[1], tmp_path / "out", data=text, teacher=other, settings=settings)
    with pytest.raises(RecipeError, match="has no teacher"):
        recovered_copy(models[1], tmp_path / "out", text, first_step="least-squares", loss="text")
    record = job.recover(
        models[1], tmp_path / "out", data=text, teacher=other, settings=short(steps=1, first_step="auto")
    )
    assert record.entries["recovery"]["first_step"] is None
