"""What the kernels compute, with MLX operations alone, on any of its devices.

Non-negative floats order as unsigned integers, so the k-th smallest score is found by deciding its bits from
the highest down, one counting pass each; no sort, and on a GPU no trip to the host.
"""

from __future__ import annotations

import mlx.core as mx

_PIECE = 1 << 24  # scores held at a time: 64 MiB
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


def prune_rows(weight: mx.array, scale: mx.array | None, k: int) -> mx.array:
    """Zero, in each row, the k weights of smallest ``|w| * scale``.

    Args:
        weight: [out, in], finite; float32, bfloat16 or float16.
        scale: [in] non-negative float32, or None.
        k: 0 <= k <= in; ties go by lowest index.

    Returns:
        The pruned matrix, same type.
    """
    if k == 0:
        return weight
    step = max(1, _PIECE // weight.shape[1])
    pieces = []
    for start in range(0, weight.shape[0], step):
        rows = weight[start : start + step]
        pieces.append(mx.where(_smallest(_order(rows, scale), k), mx.zeros_like(rows), rows))
        mx.eval(pieces[-1])
    return pieces[0] if len(pieces) == 1 else mx.concatenate(pieces)


def prune_matrix(weight: mx.array, k: int) -> mx.array:
    """Zero the k weights of smallest magnitude in the whole matrix; arguments as in :func:`prune_rows`."""
    flat = weight.reshape(1, -1)
    if k == 0:
        return weight
    return mx.where(_smallest(_order(flat, None), k), mx.zeros_like(flat), flat).reshape(weight.shape)


def prune_groups(weight: mx.array, scale: mx.array | None, counts: tuple[int, int, int]) -> mx.array:
    """Zero the least important weights of every group of consecutive inputs.

    Args:
        weight: As in :func:`prune_rows`.
        scale: As in :func:`prune_rows`.
        counts: Group size; weights to zero in a whole group; and in a last, incomplete one.

    Returns:
        The pruned matrix, same type.
    """
    size, marked, marked_last = counts
    rows, columns = weight.shape
    whole = columns // size * size
    order = _order(weight, scale)
    masks = []
    if whole:
        masks.append(_smallest_by_rank(order[:, :whole].reshape(rows, -1, size), marked).reshape(rows, whole))
    if whole < columns:
        masks.append(_smallest_by_rank(order[:, whole:], marked_last))
    mask = masks[0] if len(masks) == 1 else mx.concatenate(masks, axis=1)
    return mx.where(mask, mx.zeros_like(weight), weight)


def _order(weight: mx.array, scale: mx.array | None) -> mx.array:
    """Unsigned integers that order as the scores do."""
    if scale is not None:
        return (mx.abs(weight).astype(mx.float32) * scale).view(mx.uint32)
    return mx.abs(weight).view(mx.uint32 if weight.dtype == mx.float32 else mx.uint16)


def _smallest(order: mx.array, k: int) -> mx.array:
    """Mark exactly the k smallest of each row."""
    bits = 31 if order.dtype == mx.uint32 else 15
    kth = mx.zeros((order.shape[0], 1), dtype=order.dtype)
    for bit in reversed(range(bits)):
        candidate = kth | mx.array(1 << bit, dtype=order.dtype)
        fewer = (order < candidate).sum(axis=-1, keepdims=True) < k
        kth = mx.where(fewer, candidate, kth)
    below, equal = order < kth, order == kth
    wanted = k - below.sum(axis=-1, keepdims=True)
    return below | (equal & (mx.cumsum(equal.astype(mx.int32), axis=-1) <= wanted))


def _smallest_by_rank(order: mx.array, k: int) -> mx.array:
    """Mark the k smallest along the last axis by counting, for each, those that come before it."""
    position = mx.arange(order.shape[-1])
    rank = mx.zeros(order.shape, dtype=mx.int32)
    for index in range(order.shape[-1]):
        other = order[..., index : index + 1]
        rank = rank + ((other < order) | ((other == order) & (position > index)))
    return rank < k
