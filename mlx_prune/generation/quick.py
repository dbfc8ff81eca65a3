"""Functions of a Linux CPU by NumPy: MLX's wheels compute exponentials there one number at a time.

An exponential of MLX takes 14 ns there where a product takes 0.5 ns, so that the activation functions and the
softmax of attention cost as much as half of a small model's matrix products. NumPy's are vector instructions
of the processor at hand and take 0.6 ns (AVX-512) or 2 ns (AVX2); mlx-lm's functions are made to use them for
the time of a forward. Each of them computes what MLX has put off until then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.environment import backend
from mlx_prune.generation.attending import HIDDEN, NEAR, QUERIES_TOGETHER, Floats, Kept, attend, hidden
from mlx_prune.generation.cores import all_cores, for_each

# To leave MLX and come back costs as much as so many exponentials.
_FEW = 1 << 12

_ATTENTION = "scaled_dot_product_attention"
_REPLACED = (
    *((mx, name) for name in ("sigmoid", "tanh", "softmax", "logsumexp")),
    (nn, "silu"),
    (mx.fast, _ATTENTION),
)

_inside = 0


def needed() -> bool:
    """Whether MLX's own exponentials are slow here."""
    return sys.platform == "linux" and backend() == "cpu"


def _by_numpy(function: Callable[[Floats, Floats], None], x: mx.array) -> mx.array:
    """An array that a function writes, near piece by near piece, from those of another."""
    read = np.asarray(mx.contiguous(x)).reshape(-1)
    written = np.empty_like(read)

    @np.errstate(all="ignore")
    def piece(start: int) -> None:
        function(read[start : start + NEAR], written[start : start + NEAR])

    for_each(piece, range(0, len(read), NEAR))
    return mx.array(written.reshape(x.shape))


def _exp(read: Floats, written: Floats) -> None:
    np.exp(read, out=written)


def _sigmoid(read: Floats, written: Floats) -> None:
    _one_and_exp_of_negative(read, written)
    np.reciprocal(written, out=written)


def _silu(read: Floats, written: Floats) -> None:
    _one_and_exp_of_negative(read, written)
    np.divide(read, written, out=written)


def _one_and_exp_of_negative(read: Floats, written: Floats) -> None:
    np.negative(read, out=written)
    np.exp(written, out=written)
    written += 1


def _tanh(read: Floats, written: Floats) -> None:
    np.tanh(read, out=written)


def exp(x: mx.array) -> mx.array:
    """The exponential of an array, quick if it is float32 and not small."""
    if x.dtype != mx.float32 or x.size < _FEW or not needed():
        return mx.exp(x)
    return _by_numpy(_exp, x)


def sigmoid(x: mx.array) -> mx.array:
    """The logistic function of a float32 array."""
    return _by_numpy(_sigmoid, x)


def silu(x: mx.array) -> mx.array:
    """A float32 array times its logistic function."""
    return _by_numpy(_silu, x)


def tanh(x: mx.array) -> mx.array:
    """The hyperbolic tangent of a float32 array."""
    return _by_numpy(_tanh, x)


def log_sum_exp(x: mx.array) -> mx.array:
    """The logarithm of summed exponentials over the last axis of a float32 array, without one of its size."""
    read = np.asarray(mx.contiguous(x)).reshape(-1, x.shape[-1])
    written = np.empty(len(read), np.float32)
    step = max(1, NEAR // x.shape[-1])

    @np.errstate(all="ignore")
    def piece(start: int) -> None:
        some = read[start : start + step]
        # Of numbers that are all minus infinity the difference to the largest is none.
        largest = np.maximum(some.max(axis=-1, keepdims=True), np.float32(-3e38))
        apart = some - largest
        np.exp(apart, out=apart)
        written[start : start + step] = largest[:, 0] + np.log(apart.sum(axis=-1))

    for_each(piece, range(0, len(read), step))
    return mx.array(written.reshape(x.shape[:-1]))


def attention(q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None) -> mx.array:
    """``mx.fast.scaled_dot_product_attention`` of float32 arrays.

    Args:
        q: (rows, query heads, tokens, size).
        k: (rows, heads, keys, size).
        v: (rows, heads, keys, size of values).
        scale: Of the scores.
        mask: "causal", what is added to the scores or whether they are seen (tokens, keys), or None.
    """
    mx.eval(q, k, v)
    queries, keys, values = (np.asarray(array).transpose(0, 2, 1, 3) for array in (q, k, v))
    tokens, width = queries.shape[1], keys.shape[1]
    added = None
    if isinstance(mask, mx.array):
        seen = mask.dtype == mx.bool_
        given = np.array(mask if seen else mask.astype(mx.float32)).reshape(tokens, width)
        added = hidden(given) if seen else np.maximum(given, HIDDEN)
    written = np.empty((*queries.shape[:3], values.shape[-1]), np.float32)
    later = hidden(np.tri(QUERIES_TOGETHER, dtype=bool))

    def part(place: tuple[int, int]) -> None:
        row, first = place
        some = slice(first, first + QUERIES_TOGETHER)
        mine = queries[row, some]
        end, out_of_sight = width, None if added is None else added[some]
        if isinstance(mask, str):
            # Of these queries' own keys each sees those up to itself, and of the keys before them all.
            end, out_of_sight = width - tokens + first + len(mine), later[: len(mine), : len(mine)]
        kept = Kept(keys[row, :end], values[row, :end])
        attend(mine, scale, None, [(slice(0, len(mine)), [kept])], None, out_of_sight, written[row, some])

    # The last see most, if the mask is causal: no thread is left with one of them in the end.
    starts = range(0, tokens, QUERIES_TOGETHER)
    for_each(part, [(row, first) for first in reversed(starts) for row in range(len(queries))])
    return mx.array(written).transpose(0, 2, 1, 3)


def _can_attend(q: mx.array, mask: Any, more: dict[str, Any]) -> bool:
    if q.dtype != mx.float32 or q.size < _FEW or any(value is not None for value in more.values()):
        return False
    if isinstance(mask, mx.array):
        return (
            mask.ndim >= 2 and mask.size == mask.shape[-1] * mask.shape[-2] and mask.shape[-2] == q.shape[2]
        )
    return mask is None or mask == "causal"


@contextmanager
def quick_functions() -> Iterator[None]:
    """While this lasts, exponentials, and what MLX and mlx-lm make of them, are the quick ones for float32.

    What mlx-lm has compiled holds the slow ones; so it is run uncompiled meanwhile. Elsewhere than on a Linux
    CPU nothing changes.
    """
    global _inside
    if not needed():
        yield
        return
    own = {(owner, name): getattr(owner, name) for owner, name in _REPLACED}

    def softmax(x: mx.array, axis: Any = None, **options: Any) -> mx.array:
        if x.dtype != mx.float32 or not isinstance(axis, int):
            usual: mx.array = own[mx, "softmax"](x, axis, **options)
            return usual
        weights = exp(x - mx.max(x, axis=axis, keepdims=True))
        return weights / mx.sum(weights, axis=axis, keepdims=True)

    def logsumexp(x: mx.array, axis: Any = None, keepdims: bool = False, **options: Any) -> mx.array:
        if x.dtype != mx.float32 or x.size < _FEW or axis not in (-1, x.ndim - 1):
            usual: mx.array = own[mx, "logsumexp"](x, axis, keepdims, **options)
            return usual
        found = log_sum_exp(x)
        return found[..., None] if keepdims else found

    def quick(
        usual: Callable[..., mx.array], function: Callable[[mx.array], mx.array]
    ) -> Callable[..., mx.array]:
        def call(x: Any, **options: Any) -> mx.array:
            if isinstance(x, mx.array) and x.dtype == mx.float32 and x.size >= _FEW and not options:
                return function(x)
            slow: mx.array = usual(x, **options)
            return slow

        return call

    def attend_quickly(
        q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **more: Any
    ) -> mx.array:
        if _can_attend(q, mask, more):
            return attention(q, k, v, scale=scale, mask=mask)
        usual: mx.array = own[mx.fast, _ATTENTION](q, k, v, scale=scale, mask=mask, **more)
        return usual

    mx.softmax, mx.logsumexp = softmax, logsumexp
    mx.sigmoid, mx.tanh = quick(mx.sigmoid, sigmoid), quick(mx.tanh, tanh)
    nn.silu = quick(nn.silu, silu)
    mx.fast.scaled_dot_product_attention = attend_quickly
    _inside += 1
    mx.disable_compile()
    try:
        with all_cores():
            yield
    finally:
        _inside -= 1
        if not _inside and not os.environ.get("MLX_DISABLE_COMPILE"):
            mx.enable_compile()
        for (owner, name), function in own.items():
            setattr(owner, name, function)
