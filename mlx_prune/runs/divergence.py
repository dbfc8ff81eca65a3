"""How far a model's predictions of a text lie from its dense model's."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
from mlx_prune.errors import DataError
from mlx_prune.generation.dequantized import dequantized
from mlx_prune.generation.quick import quick_functions
from mlx_prune.generation.slices import SlicedLogits
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.runs.distributions import (
    BATCH,
    DRAWN_EVERY,
    DenseDistributions,
    dense_distributions,
    log_probabilities,
    log_probability_of,
)
from mlx_prune.runs.perplexity import held_out_tokens, perplexity_of_losses
from mlx_prune.runs.settings import DEFAULT_TOP
from mlx_prune.stats.divergence import Divergence, TokenDivergences, divergence_of, kl_with_bucket
from mlx_prune.stats.perplexity import Perplexity


class OtherTokensError(DataError):
    """Two models predict different tokens, so that their predictions cannot be compared."""


@dataclass(frozen=True, eq=False)
class DenseReference:
    """A text and what the dense model predicts of it; other models are compared with it one by one.

    Attributes:
        name: Of the dense model.
        tokens: Token ids (sequences, length).
        vocabulary: What its tokenizer holds; None if that cannot be told.
        distributions: What it predicts.
    """

    name: str
    tokens: NDArray[np.int32]
    vocabulary: Hashable
    distributions: DenseDistributions

    @classmethod
    def of(
        cls,
        dense: LoadedModel,
        *,
        text: str | Path | None = None,
        sequences: int | None = None,
        sequence_length: int | None = None,
        top: int = DEFAULT_TOP,
        progress: ProgressCallback = silent,
    ) -> DenseReference:
        """Read a text and the dense model's distributions on it, from the cache if they are there.

        Args:
            dense: The dense model.
            text: As in :func:`~mlx_prune.runs.perplexity.perplexity`, like the next two.
            sequences: How many.
            sequence_length: Tokens of each.
            top: Tokens of each position to keep; with the whole vocabulary nothing is lost.
            progress: Called once per batch.

        Raises:
            DataError: As :func:`~mlx_prune.runs.perplexity.perplexity`.
            RecordsError: The cache cannot be written.
        """
        tokens = held_out_tokens(dense, text=text, sequences=sequences, sequence_length=sequence_length)
        found = dense_distributions(dense, tokens, top=top, progress=progress)
        return cls(dense.name, tokens, _vocabulary(dense.tokenizer), found)

    @property
    def perplexity(self) -> Perplexity:
        """The dense model's."""
        return perplexity_of_losses(self.distributions.losses, self.tokens)

    def compare(
        self, model: LoadedModel, progress: ProgressCallback = silent
    ) -> tuple[Divergence, Perplexity]:
        """Distance and perplexity of a model, from one pass over the text.

        Args:
            model: Another model with the same tokens.
            progress: Called once per batch.

        Raises:
            OtherTokensError: It has other tokens.
            DataError: Its logits are not numbers.
        """
        with dequantized(model.model):
            found = self.by_token(model, progress)
        return divergence_of(found), perplexity_of_losses(-found.model_log, self.tokens)

    def by_token(self, model: LoadedModel, progress: ProgressCallback = silent) -> TokenDivergences:
        """The same for every token; see :meth:`compare`."""
        _require_same(self.name, self.vocabulary, model.name, _vocabulary(model.tokenizer))
        logits_of, dense = SlicedLogits(model.model), self.distributions
        if logits_of.vocabulary != dense.vocabulary:
            raise OtherTokensError(
                f"{self.name} predicts {dense.vocabulary:,} tokens and {model.name} "
                f"{logits_of.vocabulary:,}, so their predictions cannot be compared; give models of one "
                "vocabulary."
            )
        shape = dense.rest_log.shape
        kl, missing, model_log = (np.full(shape, np.nan) for _ in range(3))
        first = np.empty(shape, np.int64)
        starts = range(0, len(self.tokens), BATCH)
        for number, start in enumerate(starts):
            progress(Progress("divergence", number, len(starts)))
            rows = slice(start, start + BATCH)
            batch = self.tokens[rows]
            right = batch[:, 1:].reshape(-1)
            known = _Flat(dense, rows)
            of_batch = [array[rows].reshape(-1) for array in (kl, missing, model_log, first)]
            for part, logits in logits_of(batch[:, :-1]):
                log, of_batch[3][part] = log_probabilities(model.model, logits)
                of_batch[0][part], of_batch[1][part] = known.compared(part, log)
                of_batch[2][part] = log_probability_of(log, right[part])
            mx.clear_cache()
        progress(Progress("divergence", len(starts), len(starts)))
        return TokenDivergences(kl, missing, -dense.losses, model_log, first == dense.first)


class _Flat:
    """The dense distributions of some sequences, their positions one after the other."""

    def __init__(self, dense: DenseDistributions, rows: slice) -> None:
        self.ids = dense.top_ids[rows].reshape(-1, dense.top).astype(np.int32)
        self.log = dense.top_log[rows].reshape(-1, dense.top)
        self.rest = dense.rest_log[rows].reshape(-1)
        count, positions = dense.rest_log[rows].shape
        drawn = np.zeros(positions, bool)
        drawn[::DRAWN_EVERY] = dense.top < dense.vocabulary
        self.drawn = np.tile(drawn, count)
        self.place = np.cumsum(self.drawn) - 1
        self.drawn_ids = dense.drawn_ids[rows].reshape(-1)
        self.drawn_log = dense.drawn_log[rows].reshape(-1)

    def compared(self, part: slice, log: mx.array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """KL divergence of some positions, and estimates of what it lacks, from the model's ln Q."""
        ids = mx.array(self.ids[part])
        with quick_functions():
            rest = mx.logsumexp(mx.put_along_axis(log, ids, mx.array(-mx.inf), axis=-1), axis=-1)
        of_top, of_rest = np.array(mx.take_along_axis(log, ids, axis=-1)), np.array(rest)
        rest_p = self.rest[part].astype(np.float64)
        kl = kl_with_bucket(self.log[part], of_top, self.rest[part], of_rest)
        missing = np.full(len(kl), np.nan)
        here = np.flatnonzero(self.drawn[part])
        if here.size:
            place = self.place[part][here]
            q = log_probability_of(log[mx.array(here)], self.drawn_ids[place]).astype(np.float64)
            within_p = self.drawn_log[place].astype(np.float64) - rest_p[here]
            missing[here] = np.exp(rest_p[here]) * (within_p - (q - of_rest[here]))
        return kl, missing


def _vocabulary(tokenizer: Any) -> Hashable:
    """Which token has which number, told by a hash; None of a tokenizer that does not say."""
    told = getattr(tokenizer, "get_vocab", None)
    return None if told is None else hash(frozenset(told().items()))


def require_same_tokens(dense: LoadedModel, models: Iterable[Checkpoint]) -> None:
    """Refuse models whose tokenizers hold other tokens than the dense one's, before any of them runs.

    Raises:
        OtherTokensError: One does.
        CheckpointError: A tokenizer cannot be opened.
    """
    vocabulary = _vocabulary(dense.tokenizer)
    for model in models:
        _require_same(dense.name, vocabulary, model.name, _vocabulary(model.tokenizer().tokenizer))


def _require_same(dense: str, vocabulary: Hashable, name: str, other: Hashable) -> None:
    if None not in (vocabulary, other) and vocabulary != other:
        raise OtherTokensError(
            f"the tokenizers of {dense} and {name} hold different tokens, so the models' predictions cannot "
            "be compared; give models of one family."
        )


def divergence(
    dense: LoadedModel,
    model: LoadedModel,
    *,
    text: str | Path | None = None,
    sequences: int | None = None,
    sequence_length: int | None = None,
    top: int = DEFAULT_TOP,
    progress: ProgressCallback = silent,
) -> Divergence:
    """Measure how far a model's predictions of a text lie from its dense model's.

    Args:
        dense: The dense model; what it predicts is kept in the cache.
        model: Another model with the same tokens.
        text: As in :func:`~mlx_prune.runs.perplexity.perplexity`, like the next two.
        sequences: How many.
        sequence_length: Tokens of each.
        top: Of how many likeliest tokens the dense probabilities are kept; with the whole vocabulary the
            divergence is exact.
        progress: Called once per batch.

    Raises:
        DataError: The text cannot be read, the models have different tokens, or logits are not numbers.
        RecordsError: The cache cannot be written.
    """
    reference = DenseReference.of(
        dense, text=text, sequences=sequences, sequence_length=sequence_length, top=top, progress=progress
    )
    return reference.compare(model, progress)[0]
