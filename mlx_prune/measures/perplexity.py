"""Perplexity of a model on a text, through mlx-lm's own evaluation."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx_lm.perplexity
import numpy as np

from mlx_prune.errors import DataError
from mlx_prune.progress import Progress, ProgressCallback, silent


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
    """

    value: float
    standard_error: float
    sequences: int
    sequence_length: int
    tokens: int


def perplexity_of_tokens(
    model: Any,
    tokens: np.ndarray,
    *,
    batch_size: int = 8,
    progress: ProgressCallback = silent,
) -> Perplexity:
    """Measure perplexity as ``mlx_lm.perplexity.eval_ppl`` does, quietly and with progress.

    Args:
        model: A callable that maps int tokens ``(batch, length)`` to logits ``(batch, length, vocabulary)``.
        tokens: int32 token ids, shape ``(sequences, sequence_length)``.
        batch_size: Sequences per forward pass.
        progress: Called once per batch.

    Returns:
        The perplexity and its standard error.

    Raises:
        DataError: If there is no sequence of at least two tokens, or the model's losses are not numbers.
    """
    if tokens.ndim != 2 or tokens.shape[0] == 0 or tokens.shape[1] < 2:
        raise DataError("perplexity needs at least one sequence of two tokens.")
    batches = math.ceil(len(tokens) / batch_size)
    done = 0

    def counted(batch: mx.array) -> Any:
        nonlocal done
        logits = model(batch)
        progress(Progress("perplexity", done, batches))
        done += 1
        return logits

    try:
        # eval_ppl prints a line per batch on stdout, which belongs to the caller.
        with contextlib.redirect_stdout(io.StringIO()):
            value, error = mlx_lm.perplexity.eval_ppl(counted, mx.array(tokens), batch_size=batch_size)
    except OverflowError:
        value, error = math.inf, math.inf
    if math.isnan(value):
        raise DataError("the model's losses are not numbers (NaN); its weights may be damaged.")
    progress(Progress("perplexity", batches, batches))
    sequences, length = (int(n) for n in tokens.shape)
    return Perplexity(float(value), float(error), sequences, length, sequences * (length - 1))
