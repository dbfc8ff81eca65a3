"""Column sums of squares with MLX operations alone, on any of its devices."""

from __future__ import annotations

import mlx.core as mx

ROWS = 512  # summed in float32 before the partial sums are added


def sum_of_squares(x: mx.array) -> mx.array:
    """Column sums of squares.

    Args:
        x: [tokens, features]; float32, bfloat16 or float16.

    Returns:
        [features] float32.
    """
    # Half-precision sums would accumulate in the input's own type.
    partial = [mx.square(x[i : i + ROWS].astype(mx.float32)).sum(axis=0) for i in range(0, x.shape[0], ROWS)]
    return mx.stack(partial).sum(axis=0)
