"""Gram matrices of activations, X^T X: what a correction of the weights needs to know of the inputs.

SparseGPT's Hessian and a least-squares repair are both made of them; :class:`GramSums` adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True)
class GramSums:
    """Products of input features, summed over some tokens.

    Attributes:
        sums: [features, features] float32, X^T X.
        count: Tokens that were summed.
    """

    sums: mx.array
    count: int

    def __add__(self, other: GramSums) -> GramSums:
        """The sums over both sets of tokens."""
        return GramSums(self.sums + other.sums, self.count + other.count)


def gram_sums(x: mx.array) -> GramSums:
    """Multiply activations with themselves, over every axis but the last.

    Args:
        x: [..., features]; float32, bfloat16 or float16.

    Returns:
        Float32 sums (also of half-precision inputs) and the number of tokens.
    """
    features = x.shape[-1]
    if x.size == 0:
        return GramSums(mx.zeros((features, features)), 0)
    rows = x.reshape(-1, features).astype(mx.float32)
    return GramSums(rows.T @ rows, rows.shape[0])
