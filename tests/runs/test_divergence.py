"""Distances from a dense model against float64 arithmetic on whole distributions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from scipy import special
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.errors import DataError
from mlx_prune.generation import slices
from mlx_prune.generation.slices import SlicedLogits
from mlx_prune.pruning.job import write_copy
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.runs import distributions
from mlx_prune.runs.distributions import dense_distributions, measure_distributions
from mlx_prune.runs.divergence import DenseReference, divergence, require_same_tokens
from mlx_prune.runs.perplexity import perplexity_of_tokens
from mlx_prune.stats.divergence import TokenDivergences


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLX_PRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def shaken(folder: Path, scale: float, seed: int = 0) -> LoadedModel:
    """The model with noise on its weights, relative to their size."""
    loaded, rng = checkpoints.load(folder), np.random.default_rng(seed)
    moved = [
        (name, array * mx.array(1 + scale * rng.standard_normal(array.shape), mx.float32))
        for name, array in tree_flatten(loaded.model.parameters())
    ]
    loaded.model.update(tree_unflatten(moved))
    return loaded


def some_tokens(model: LoadedModel, sequences: int = 5, length: int = 19) -> np.ndarray:
    vocabulary = model.model(mx.array([[1, 2]])).shape[-1]
    return np.random.default_rng(3).integers(0, vocabulary, (sequences, length), dtype=np.int32)


def log_p(model: LoadedModel, tokens: np.ndarray) -> np.ndarray:
    logits = np.array(model.model(mx.array(tokens[:, :-1])).astype(mx.float32), np.float64)
    return special.log_softmax(logits, -1)


def compared(dense: LoadedModel, model: LoadedModel, tokens: np.ndarray, top: int) -> TokenDivergences:
    found = measure_distributions(dense, tokens, top)
    return DenseReference("dense", tokens, None, found).by_token(model)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tokens_figures_are_those_of_whole_distributions(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / architecture, architecture)
    dense, model = checkpoints.load(folder), shaken(folder, 0.2)
    tokens = some_tokens(dense)
    p, q = log_p(dense, tokens), log_p(model, tokens)
    vocabulary = p.shape[-1]
    monkeypatch.setattr(slices, "_SLICE", 7 * vocabulary)
    monkeypatch.setattr("mlx_prune.runs.distributions.BATCH", 2)
    monkeypatch.setattr("mlx_prune.runs.divergence.BATCH", 2)

    exact = compared(dense, model, tokens, vocabulary)
    expected = special.rel_entr(np.exp(p), np.exp(q)).sum(-1)
    assert expected.mean() > 0.01
    np.testing.assert_allclose(exact.kl, expected, atol=2e-5)
    assert np.isnan(exact.missing).all()

    kept = compared(dense, model, tokens, 16)
    order = np.argsort(-p, axis=-1)
    parts = [np.take_along_axis(np.exp(x), order, -1) for x in (p, q)]
    lumped = [np.concatenate([x[..., :16], x[..., 16:].sum(-1, keepdims=True)], -1) for x in parts]
    np.testing.assert_allclose(kept.kl, special.rel_entr(*lumped).sum(-1), atol=2e-5)
    assert (~np.isnan(kept.missing)).sum(axis=1).tolist() == [5] * 5

    for found in (exact, kept):
        right = tokens[:, 1:, None]
        np.testing.assert_allclose(found.dense_log, np.take_along_axis(p, right, -1)[..., 0], atol=1e-4)
        np.testing.assert_allclose(found.model_log, np.take_along_axis(q, right, -1)[..., 0], atol=1e-4)
        assert (found.same_top == (p.argmax(-1) == q.argmax(-1))).all()


def test_what_the_bucket_hides_is_estimated_without_bias(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    dense, model = checkpoints.load(folder), shaken(folder, 0.3)
    tokens = some_tokens(dense, 64, 65)
    p, q = (np.exp(log_p(m, tokens)) for m in (dense, model))
    found = compared(dense, model, tokens, 8)
    gap = special.rel_entr(p, q).sum(-1) - found.kl
    assert (gap > -1e-5).all()
    estimates = found.missing[:, ::4]
    assert np.isnan(found.missing).sum() == found.missing.size - estimates.size
    assert gap.mean() > 0.005
    error = estimates.std(ddof=1) / np.sqrt(estimates.size)
    assert error < 0.2 * gap.mean()
    assert abs(estimates.mean() - gap[:, ::4].mean()) < 4 * error


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_lies_at_nothing_from_itself(tmp_path: Path, dtype: str) -> None:
    folder = save_tiny_model(tmp_path / "m", "gemma2", dtype=dtype)
    dense, again = (checkpoints.load(folder, dtype=dtype) for _ in range(2))
    tokens = some_tokens(dense)
    reference = DenseReference("dense", tokens, None, dense_distributions(dense, tokens, top=16))
    found, perplexity = reference.compare(again)
    rounding = 1e-6 if dtype == "float32" else 1e-2
    assert found.kl_max <= rounding
    assert abs(found.kl_missing) <= rounding
    assert found.same_top > 0.95
    assert perplexity.value == pytest.approx(reference.perplexity.value, rel=rounding)
    assert perplexity.sequence_hashes == reference.perplexity.sequence_hashes


def test_the_pass_gives_the_perplexity_too(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "phi3")
    dense, model = checkpoints.load(folder), shaken(folder, 0.2)
    tokens = some_tokens(dense)
    reference = DenseReference("dense", tokens, None, measure_distributions(dense, tokens, 8))
    distance, found = reference.compare(model)
    for loaded, figure in ((dense, reference.perplexity), (model, found)):
        peer = perplexity_of_tokens(SlicedLogits(loaded.model), tokens)
        assert figure.value == pytest.approx(peer.value, rel=1e-5)
        assert figure.sequence_nll == pytest.approx(peer.sequence_nll, rel=1e-4)
    assert distance.log_ratio == pytest.approx(np.log(found.value / reference.perplexity.value), abs=1e-6)


def test_order_of_bits_holds_on_the_embedded_model(tmp_path: Path) -> None:
    dense = checkpoints.load("demo")
    found = []
    for bits in (8, 6, 4, 3):
        folder = tmp_path / f"q{bits}"
        write_copy(dense.checkpoint, folder, None, Quantization(bits=bits))
        model = checkpoints.load(folder)
        found.append(divergence(dense, model, sequences=8, sequence_length=64))
    for name in ("kl", "kl_median", "kl_99", "probability_rms"):
        figures = [getattr(one, name) for one in found]
        assert figures == sorted(figures), name
        assert figures[0] < 0.1 * figures[-1]
    shares = [one.same_top for one in found]
    assert shares == sorted(shares, reverse=True)


def test_the_dense_model_runs_once_and_is_known_by_its_weights(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / "m")
    dense, other = checkpoints.load(folder), shaken(folder, 0.1)
    tokens = some_tokens(dense)
    first = dense_distributions(dense, tokens, top=16)
    assert first.file is not None
    assert first.file.parent == own_cache / "distributions"
    assert 0 < first.cached_bytes < 5 * 18 * (6 * 16 + 12) + 2000

    def refuse(*_: Any) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(distributions, "measure_distributions", refuse)
        again = dense_distributions(checkpoints.load(folder), tokens, top=16)
        np.testing.assert_array_equal(again.top_log, first.top_log)
        for changed in ({"top": 17}, {"tokens": tokens[:4]}, {"model": other}):
            with pytest.raises(AssertionError, match="measured again"):
                dense_distributions(**{"model": dense, "tokens": tokens, "top": 16} | changed)
    # A file that lost its end is made again.
    first.file.write_bytes(first.file.read_bytes()[:-100])
    remade = dense_distributions(dense, tokens, top=16)
    np.testing.assert_array_equal(remade.top_log, first.top_log)
    assert not list(own_cache.glob("distributions/.*.tmp"))


def test_other_tokens_are_refused(tmp_path: Path) -> None:
    dense = checkpoints.load(save_tiny_model(tmp_path / "dense"))
    swapped = save_tiny_model(tmp_path / "swapped")
    text = (swapped / "tokenizer.json").read_text().replace("<|user|>", "<|human|>")
    (swapped / "tokenizer.json").write_text(text)
    with pytest.raises(DataError, match=r"tokenizers of .*dense and .*swapped hold different tokens"):
        require_same_tokens(dense, [checkpoints.Checkpoint(swapped)])
    require_same_tokens(dense, [checkpoints.Checkpoint(dense.path)])

    wider = checkpoints.load(save_tiny_model(tmp_path / "wider", vocab_size=400))
    tokens = some_tokens(dense)
    reference = DenseReference("dense", tokens, None, measure_distributions(dense, tokens, 8))
    with pytest.raises(DataError, match=r"predicts .* tokens and .*wider 400, so"):
        reference.compare(wider)


def test_logits_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    dense, broken = checkpoints.load(folder), checkpoints.load(folder)
    broken.model.lm_head.weight = mx.full(broken.model.lm_head.weight.shape, mx.nan)
    tokens = some_tokens(dense)
    reference = DenseReference("dense", tokens, None, measure_distributions(dense, tokens, 8))
    with pytest.raises(DataError, match="NaN"):
        reference.compare(broken)
    with pytest.raises(DataError, match="NaN"):
        measure_distributions(broken, tokens, 8)
