"""Sums of squared activations per input feature: all that Wanda needs to know of the inputs.

:func:`sum_of_squares` has one meaning and several implementations; :class:`SquareSums` adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_prune.environment import backend
from mlx_prune.kernels import choice, launch
from mlx_prune.kernels.portable_sums import ROWS
from mlx_prune.kernels.portable_sums import sum_of_squares as portable


@dataclass(frozen=True)
class SquareSums:
    """Sums of squares per feature over some tokens.

    Attributes:
        sums: [features] float32.
        count: Tokens that were summed.
    """

    sums: mx.array
    count: int

    def __add__(self, other: SquareSums) -> SquareSums:
        """The sums over both sets of tokens."""
        return SquareSums(self.sums + other.sums, self.count + other.count)

    def root_mean_square(self) -> mx.array:
        """[features] float32, sqrt(sum of squares / tokens): Wanda's ``||X_j||_2``, up to a constant.

        Without any token every feature counts 1: an expert that none was routed to is scored by ``|w|``.
        """
        return mx.sqrt(self.sums / self.count) if self.count else mx.ones_like(self.sums)


def square_sums(x: mx.array) -> SquareSums:
    """Sum the squares of activations over every axis but the last.

    Args:
        x: [..., features]; float32, bfloat16 or float16.

    Returns:
        Float32 sums (also of half-precision inputs) and the number of tokens.
    """
    features = x.shape[-1]
    if x.size == 0:
        return SquareSums(mx.zeros(features), 0)
    return SquareSums(sum_of_squares(x.reshape(-1, features)), x.size // features)


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
        return _with_numpy(x) if numpy else portable(x)
    return choice.attempt(lambda: _on_gpu(x))


def _on_gpu(x: mx.array) -> mx.array:
    """By the kernel where it can be trusted; lazy."""
    if choice.usable("sum_of_squares", x.dtype):
        return launch.sum_of_squares(x)
    return portable(x)


def _with_numpy(x: mx.array) -> mx.array:
    """On a CPU, one pass over memory, without a copy of the activations."""
    values = np.array(x, copy=False)
    pieces = [values[i : i + ROWS] for i in range(0, values.shape[0], ROWS)]
    partial = [np.einsum("tf,tf->f", piece, piece) for piece in pieces]
    return mx.array(np.stack(partial).sum(axis=0))
