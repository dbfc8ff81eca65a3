"""A measured perplexity, and how much worse a model predicts a text than its dense self.

The same hard sentences are hard for both, so most of the spread of a perplexity goes when the two are
compared sequence by sequence. Tokens of one sequence hang together; sequences are what was sampled.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.stats.levels import CONFIDENCE, NORMAL

# Wider no interval is on the log scale; its end is still a float.
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Perplexity:
    """Perplexity of one model on one text.

    Attributes:
        value: exp(mean negative log-likelihood in nats per token); infinite where that overflows.
        standard_error: Delta-method standard error over tokens, as mlx-lm reports it. Tokens of one
            sequence are not independent, so it is a lower bound.
        sequences: Number of sequences evaluated.
        sequence_length: Tokens per sequence.
        tokens: Tokens predicted, ``sequences * (sequence_length - 1)``.
        sequence_nll: Of each sequence, the sum of its tokens' negative log-likelihoods in nats; empty where
            they were not recorded.
        sequence_hashes: Of each sequence's token ids (:func:`sequence_hash`), by which two models are
            compared sequence by sequence.
    """

    value: float
    standard_error: float
    sequences: int
    sequence_length: int
    tokens: int
    sequence_nll: tuple[float, ...] = ()
    sequence_hashes: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Perplexity:
        """From a row of ``perplexity.json``, where null stands for what overflowed."""

        def number(value: Any, absent: float) -> float:
            return absent if value is None else float(value)

        return cls(
            value=number(row.get("perplexity"), math.inf),
            standard_error=number(row.get("standard_error"), 0.0),
            sequences=int(row.get("sequences") or 0),
            sequence_length=int(row.get("sequence_length") or 0),
            tokens=int(row.get("tokens") or 0),
            sequence_nll=tuple(number(loss, math.inf) for loss in row.get("sequence_nll") or ()),
            sequence_hashes=tuple(row.get("sequence_hashes") or ()),
        )

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, on the log scale; infinite where the perplexity overflowed."""
        if math.isinf(self.value):
            return self.value, self.value
        factor = math.exp(min(NORMAL * self.standard_error / self.value, _LARGEST_LOG))
        return self.value / factor, self.value * factor

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its row in ``perplexity.json``."""
        figures = asdict(self)
        return {"perplexity": figures.pop("value"), **figures}


@dataclass(frozen=True)
class RatioOfPerplexities:
    """A ratio of perplexities.

    Attributes:
        log: Its logarithm.
        low: Lower end of its 95 % interval, a logarithm; NaN with fewer than two sequences.
        high: Upper end.
        sequences: Pairs that it rests on; 0 where the two were taken as independent.
    """

    log: float
    low: float
    high: float
    sequences: int


def sequence_hash(ids: NDArray[np.int32]) -> str:
    """Of a sequence's token ids, in their order; 16 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(ids, "<i4").tobytes()).hexdigest()[:16]


def paired_ratio(
    dense: Perplexity, pruned: Perplexity, confidence: float = CONFIDENCE
) -> RatioOfPerplexities | None:
    """Ratio of two perplexities on the sequences of one text; None if the sequences are not the same ones.

    Its logarithm is the mean loss per token that was added. The interval takes the sequences as the sample
    (clusters of tokens), and is t distributed with one degree of freedom less than there are sequences.
    """
    count = len(dense.sequence_hashes)
    if dense.sequence_hashes != pruned.sequence_hashes or dense.tokens != pruned.tokens or not count:
        return None
    tokens = dense.tokens // count
    added = (np.array(pruned.sequence_nll) - np.array(dense.sequence_nll)) / tokens
    return mean_added(added, confidence)


def mean_added(added: NDArray[np.float64], confidence: float = CONFIDENCE) -> RatioOfPerplexities:
    """The logarithm of a ratio of perplexities from the mean loss per token that each sequence added.

    Args:
        added: Nats per token (sequences,), all sequences being of one length.
        confidence: Level of the interval.
    """
    from scipy.special import stdtrit

    count, value = len(added), float(added.mean())
    if count < 2 or not np.isfinite(added).all():
        return RatioOfPerplexities(value, math.nan, math.nan, count)
    error = float(added.std(ddof=1)) / math.sqrt(count)
    half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * error
    return RatioOfPerplexities(value, value - half, value + half, count)


def relative(log_ratio: float) -> float:
    """The change that the logarithm of a ratio is, as a fraction; infinite beyond the largest float."""
    return math.inf if log_ratio > math.log(sys.float_info.max) else math.expm1(log_ratio)


def independent_ratio(dense: Perplexity, pruned: Perplexity) -> RatioOfPerplexities:
    """Ratio of two perplexities taken as independent, which they are not: the interval is too wide."""
    error = math.hypot(dense.standard_error / dense.value, pruned.standard_error / pruned.value)
    value = math.log(pruned.value / dense.value)
    return RatioOfPerplexities(value, value - NORMAL * error, value + NORMAL * error, 0)
