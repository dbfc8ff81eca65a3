"""How much worse a model predicts a text than its dense self, paired by sequence.

The same hard sentences are hard for both, so most of the spread of a perplexity goes when the two are
compared sequence by sequence. Tokens of one sequence hang together; sequences are what was sampled.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlx_prune.stats.levels import CONFIDENCE


@dataclass(frozen=True, eq=False)
class SequenceLosses:
    """What a model lost on each sequence of a text.

    Attributes:
        nll: Sum of the negative log-likelihoods of a sequence's tokens, in nats (sequences,).
        tokens: Tokens predicted in each sequence, the same in all.
        hashes: Of each sequence's token ids (:func:`sequence_hash`).
    """

    nll: NDArray[np.float64]
    tokens: int
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class RatioOfPerplexities:
    """A ratio of perplexities.

    Attributes:
        log: Its logarithm.
        low: Lower end of its interval, a logarithm; NaN with fewer than two sequences.
        high: Upper end.
        sequences: Pairs that it rests on.
    """

    log: float
    low: float
    high: float
    sequences: int


def sequence_hash(ids: NDArray[np.int32]) -> str:
    """Of a sequence's token ids, in their order; 16 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(ids, "<i4").tobytes()).hexdigest()[:16]


def paired_ratio(
    dense: SequenceLosses, pruned: SequenceLosses, confidence: float = CONFIDENCE
) -> RatioOfPerplexities | None:
    """Ratio of two perplexities on the sequences of one text; None if the sequences are not the same ones.

    Its logarithm is the mean loss per token that was added. The interval takes the sequences as the sample
    (clusters of tokens), and is t distributed with one degree of freedom less than there are sequences.

    Args:
        dense: Losses of the dense model.
        pruned: Of the other.
        confidence: Two-sided level.
    """
    if dense.hashes != pruned.hashes or dense.tokens != pruned.tokens or not dense.hashes:
        return None
    added = (pruned.nll - dense.nll) / dense.tokens
    value, count = float(added.mean()), len(added)
    if count < 2 or not np.isfinite(added).all():
        return RatioOfPerplexities(value, math.nan, math.nan, count)
    error = float(added.std(ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * error
    return RatioOfPerplexities(value, value - half, value + half, count)
