"""Perplexity against mlx-lm's own figure and against float64 arithmetic."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm.perplexity
import numpy as np
import pytest
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.errors import DataError
from mlx_prune.generation.slices import SlicedLogits
from mlx_prune.progress import Progress
from mlx_prune.runs.perplexity import perplexity, perplexity_of_tokens


def log_likelihoods(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return np.take_along_axis(log_probabilities, targets[..., None], -1)[..., 0]


class Invented:
    """Logits of whole batches that no model computed."""

    def __init__(self, model: Callable[[mx.array], mx.array]) -> None:
        self.model = model

    def __call__(self, tokens: np.ndarray) -> Iterator[tuple[slice, mx.array]]:
        logits = self.model(mx.array(tokens))
        yield slice(0, tokens.size), logits.reshape(tokens.size, -1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_perplexity_equals_mlx_lm_and_float64(architecture: str, tmp_path: Path) -> None:
    model = checkpoints.load(save_tiny_model(tmp_path / architecture, architecture)).model
    vocabulary = model(mx.array([[1, 2]])).shape[-1]
    tokens = np.random.default_rng(3).integers(0, vocabulary, (5, 17), dtype=np.int32)
    reports: list[Progress] = []

    found = perplexity_of_tokens(SlicedLogits(model), tokens, batch_size=2, progress=reports.append)

    with contextlib.redirect_stdout(io.StringIO()):
        peer, peer_error = mlx_lm.perplexity.eval_ppl(model, mx.array(tokens), batch_size=2)
    # mlx-lm adds up in float32.
    assert found.value == pytest.approx(peer, rel=1e-5)
    assert found.standard_error == pytest.approx(peer_error, rel=1e-4)
    logits = np.array(model(mx.array(tokens[:, :-1])).astype(mx.float32))
    losses = -log_likelihoods(logits, tokens[:, 1:])
    assert found.value == pytest.approx(math.exp(losses.mean()), rel=1e-4)
    assert found.tokens == losses.size == 80
    assert found.sequence_nll == pytest.approx(losses.sum(axis=1).tolist(), rel=1e-4)
    assert sum(found.sequence_nll) == pytest.approx(80 * math.log(found.value))
    assert len(set(found.sequence_hashes)) == 5
    assert [(r.done, r.total) for r in reports] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def uniform(batch: mx.array) -> mx.array:
        return mx.zeros((*batch.shape, 7))

    found = perplexity_of_tokens(Invented(uniform), np.ones((2, 9), np.int32))
    assert found.value == pytest.approx(7.0, rel=1e-6)
    assert capsys.readouterr().out == ""


def test_an_overflowing_perplexity_is_infinite_and_nan_is_refused() -> None:
    def hopeless(batch: mx.array) -> mx.array:
        return mx.full((*batch.shape, 3), 0.0).at[..., 0].add(1e4)

    assert perplexity_of_tokens(Invented(hopeless), np.ones((2, 9), np.int32)).value == math.inf
    with pytest.raises(DataError, match="NaN"):
        perplexity_of_tokens(Invented(lambda b: mx.full((*b.shape, 3), mx.nan)), np.ones((2, 9), np.int32))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.LoadedModel:
    return checkpoints.load(save_tiny_model(tmp_path_factory.mktemp("m") / "llama", "llama"))


def test_a_text_is_cut_into_sequences_that_begin_with_bos(
    tiny: checkpoints.LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "text.txt"
    file.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    seen: list[np.ndarray] = []

    def keep(_: Any, tokens: np.ndarray, **__: Any) -> None:
        seen.append(tokens)

    monkeypatch.setattr("mlx_prune.runs.perplexity.perplexity_of_tokens", keep)
    perplexity(tiny, text=file, sequences=3, sequence_length=16)
    (tokens,) = seen
    assert tokens.shape == (3, 16)
    with_special = tiny.tokenizer.encode("The")
    plain = tiny.tokenizer.encode("The", add_special_tokens=False)
    lead = with_special[: len(with_special) - len(plain)]
    body = 16 - len(lead)
    whole = tiny.tokenizer.encode(file.read_text(), add_special_tokens=False)
    np.testing.assert_array_equal(tokens[:, len(lead) :].reshape(-1), whole[: 3 * body])


def test_short_texts_and_long_sequences_say_what_is_missing(
    tiny: checkpoints.LoadedModel, tmp_path: Path
) -> None:
    file = tmp_path / "text.txt"
    file.write_text("few words")
    with pytest.raises(DataError, match="too few for 1 sequence of 512"):
        perplexity(tiny, text=file)
    with pytest.raises(DataError, match="at most 512 tokens"):
        perplexity(tiny, text=file, sequence_length=513)
    with pytest.raises(DataError, match="no text file"):
        perplexity(tiny, text=tmp_path / "absent.txt")
    damaged = tmp_path / "lines.jsonl"
    damaged.write_text('{"text": "fine"}\n{"text": 3}\n')
    with pytest.raises(DataError, match='line 2 has no string field "text"'):
        perplexity(tiny, text=damaged)
