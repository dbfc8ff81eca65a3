"""Exponentials of a Linux CPU without their calls: MLX's wheels compute them there one number at a time.

An exponential of MLX takes 14 ns there where a product takes 0.5 ns, so that the activation functions and the
softmax of attention cost as much as half of a small model's matrix products. NumPy's are vector instructions
of the processor at hand and take 0.6 ns; mlx-lm's functions are made to use them for the time of a forward.
Each of them computes what MLX has put off until then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_prune.environment import backend

# To leave MLX and come back costs as much as so many exponentials.
_FEW = 1 << 12
# Numbers that several operations in a row find near the processor.
_NEAR = 1 << 14

Floats = NDArray[np.float32]

_inside = 0


def needed() -> bool:
    """Whether MLX's own exponentials are slow here."""
    return sys.platform == "linux" and backend() == "cpu"


def _by_numpy(function: Callable[[Floats, Floats], None], x: mx.array) -> mx.array:
    """An array that a function writes, near piece by near piece, from those of another."""
    read = np.asarray(mx.contiguous(x)).reshape(-1)
    written = np.empty_like(read)
    with np.errstate(all="ignore"):
        for start in range(0, len(read), _NEAR):
            function(read[start : start + _NEAR], written[start : start + _NEAR])
    return mx.array(written.reshape(x.shape))


def _exp(read: Floats, written: Floats) -> None:
    np.exp(read, out=written)


def _sigmoid(read: Floats, written: Floats) -> None:
    np.negative(read, out=written)
    np.exp(written, out=written)
    written += 1
    np.reciprocal(written, out=written)


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


def tanh(x: mx.array) -> mx.array:
    """The hyperbolic tangent of a float32 array."""
    return _by_numpy(_tanh, x)


@contextmanager
def quick_functions() -> Iterator[None]:
    """While this lasts, the sigmoid, tanh, softmax and logsumexp of MLX are the quick ones for float32.

    What mlx-lm has compiled holds the slow ones; so it is run uncompiled meanwhile. Elsewhere than on a Linux
    CPU nothing changes.
    """
    global _inside
    if not needed():
        yield
        return
    own = {name: getattr(mx, name) for name in ("sigmoid", "tanh", "softmax", "logsumexp")}

    def softmax(x: mx.array, axis: Any = None, **options: Any) -> mx.array:
        if x.dtype != mx.float32 or not isinstance(axis, int):
            usual: mx.array = own["softmax"](x, axis, **options)
            return usual
        weights = exp(x - mx.max(x, axis=axis, keepdims=True))
        return weights / mx.sum(weights, axis=axis, keepdims=True)

    def logsumexp(x: mx.array, axis: Any = None, keepdims: bool = False, **options: Any) -> mx.array:
        if x.dtype != mx.float32 or not isinstance(axis, int):
            usual: mx.array = own["logsumexp"](x, axis, keepdims, **options)
            return usual
        largest = mx.max(x, axis=axis, keepdims=True)
        found = largest + mx.log(mx.sum(exp(x - largest), axis=axis, keepdims=True))
        return found if keepdims else found.squeeze(axis)

    def quick(name: str, function: Callable[[mx.array], mx.array]) -> Callable[..., mx.array]:
        def call(x: Any, **options: Any) -> mx.array:
            if isinstance(x, mx.array) and x.dtype == mx.float32 and x.size >= _FEW and not options:
                return function(x)
            usual: mx.array = own[name](x, **options)
            return usual

        return call

    mx.sigmoid, mx.tanh = quick("sigmoid", sigmoid), quick("tanh", tanh)
    mx.softmax, mx.logsumexp = softmax, logsumexp
    _inside += 1
    mx.disable_compile()
    try:
        yield
    finally:
        _inside -= 1
        if not _inside and not os.environ.get("MLX_DISABLE_COMPILE"):
            mx.enable_compile()
        for name, function in own.items():
            setattr(mx, name, function)
