"""Run the kernels through MLX.

The functions mean what their namesakes in :mod:`mlx_prune.kernels.portable` mean.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import mlx.core as mx

from mlx_prune.environment import backend
from mlx_prune.kernels import SIGNATURES, header, source

_THREADS = 256
SLAB = 64  # tokens per partial sum
CHUNK = 1 << 14  # weights per threadgroup, where a whole matrix is one problem
# The lowest digit of a float32 that can differ between values of a type.
LAST_SHIFT = {mx.float32: 0, mx.float16: 8, mx.bfloat16: 16}


@cache
def _kernel(name: str, dialect: str) -> Any:
    inputs, _, output = SIGNATURES[name]
    build = mx.fast.metal_kernel if dialect == "metal" else mx.fast.cuda_kernel
    return build(
        name=f"mlx_prune_{name}",
        input_names=list(inputs),
        output_names=[output],
        source=source(name, dialect),
        header=header(dialect),
    )


def _run(
    name: str,
    inputs: list[mx.array],
    template: list[tuple[str, Any]],
    groups: tuple[int, int],
    shape: tuple[int, ...],
    dtype: mx.Dtype,
) -> mx.array:
    (result,) = _kernel(name, backend())(
        inputs=inputs,
        template=template,
        grid=(groups[0] * _THREADS, groups[1], 1),
        threadgroup=(_THREADS, 1, 1),
        output_shapes=[shape],
        output_dtypes=[dtype],
    )
    return result  # type: ignore[no-any-return]


def sum_of_squares(x: mx.array) -> mx.array:
    """Column sums of squares of [tokens, features], float32, without a float32 copy of x."""
    tokens, features = x.shape
    slabs = -(-tokens // SLAB)
    partial = _run(
        "square_sums",
        [x],
        [("T", x.dtype), ("SLAB", SLAB)],
        (-(-features // _THREADS), slabs),
        (slabs, features),
        mx.float32,
    )
    return partial.sum(axis=0)


def prune_rows(weight: mx.array, scale: mx.array | None, k: int) -> mx.array:
    """Zero, in each row, the k weights of smallest ``|w| * scale``, ties by lowest index."""
    if k == 0:
        return weight
    rows, columns = weight.shape
    factors = mx.ones(columns) if scale is None else scale
    inputs = [weight, factors, mx.array([k], dtype=mx.uint32)]
    return _run("select_rows", inputs, [("T", weight.dtype)], (rows, 1), weight.shape, weight.dtype)


def prune_matrix(weight: mx.array, k: int) -> mx.array:
    """Zero the k weights of smallest magnitude in the whole matrix, ties by lowest index."""
    if k == 0:
        return weight
    flat = weight.reshape(-1)
    chunks = -(-flat.size // CHUNK)
    threshold = mx.zeros((1,), dtype=mx.uint32)
    wanted = mx.array(k, dtype=mx.int32)
    for shift in range(24, LAST_SHIFT[weight.dtype] - 1, -8):
        counts = _run(
            "digit_counts",
            [flat, threshold],
            [("T", weight.dtype), ("SHIFT", shift), ("CHUNK", CHUNK)],
            (chunks, 1),
            (chunks, 256),
            mx.uint32,
        )
        threshold, wanted, ties = next_digit(counts, threshold, wanted, shift)
    take = share_ties(ties, wanted)
    pruned = _run(
        "apply_threshold",
        [flat, threshold, take, ties.astype(mx.uint32)],
        [("T", weight.dtype), ("CHUNK", CHUNK)],
        (chunks, 1),
        flat.shape,
        weight.dtype,
    )
    return pruned.reshape(weight.shape)


def prune_groups(weight: mx.array, scale: mx.array | None, counts: tuple[int, int, int]) -> mx.array:
    """Zero the least important weights of every group of consecutive inputs, ties by lowest index."""
    rows, columns = weight.shape
    factors = mx.ones(columns) if scale is None else scale
    inputs = [weight, factors, mx.array(counts, dtype=mx.uint32)]
    groups = (-(-columns // _THREADS), rows)
    return _run("select_groups", inputs, [("T", weight.dtype)], groups, weight.shape, weight.dtype)


def next_digit(
    counts: mx.array, threshold: mx.array, wanted: mx.array, shift: int
) -> tuple[mx.array, mx.array, mx.array]:
    """Fix one more digit of the k-th smallest magnitude.

    Args:
        counts: [chunks, 256] uint32, how often each value of the digit occurs.
        threshold: [1] uint32, the digits fixed so far.
        wanted: Scalar int32, the rank among the magnitudes that share them.
        shift: Position of the digit.

    Returns:
        The threshold with the digit, the rank among those that share it too, and [chunks] int32, how many
        of each chunk do.
    """
    total = counts.astype(mx.int32).sum(axis=0)
    up_to = mx.cumsum(total)
    digit = (up_to < wanted).sum()
    below = up_to[digit] - total[digit]
    fixed = threshold | (digit.astype(mx.uint32) << shift)
    return fixed, wanted - below, counts[:, digit].astype(mx.int32)


def share_ties(ties: mx.array, wanted: mx.array) -> mx.array:
    """How many ties each chunk may zero, so that the first ``wanted`` of all go: [chunks] uint32."""
    before = mx.cumsum(ties) - ties
    return mx.clip(wanted - before, 0, ties).astype(mx.uint32)
