"""Column sums of squares, by whatever computes them best here."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_prune.environment import backend
from mlx_prune.kernels import choice, launch, portable


def sum_of_squares(x: mx.array) -> mx.array:
    """Column sums of squares.

    Args:
        x: [tokens, features]; float32, bfloat16 or float16.

    Returns:
        [features] float32.
    """
    if backend() == "cpu":
        numpy = x.dtype == mx.float32
        choice.note("sum_of_squares", x.dtype, choice.NUMPY if numpy else choice.PORTABLE)
        return _with_numpy(x) if numpy else portable.sum_of_squares(x)
    return choice.attempt(lambda: _on_gpu(x))


def _on_gpu(x: mx.array) -> mx.array:
    """By the kernel where it can be trusted; lazy."""
    if choice.usable("sum_of_squares", x.dtype):
        return launch.sum_of_squares(x)
    return portable.sum_of_squares(x)


def _with_numpy(x: mx.array) -> mx.array:
    """On a CPU, one pass over memory, without a copy of the activations."""
    values, rows = np.array(x, copy=False), portable.ROWS
    pieces = [values[i : i + rows] for i in range(0, values.shape[0], rows)]
    partial = [np.einsum("tf,tf->f", piece, piece) for piece in pieces]
    return mx.array(np.stack(partial).sum(axis=0))
