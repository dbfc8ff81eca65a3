"""Exponentials of a Linux CPU without their calls: MLX's wheels compute them there one number at a time.

An exponential of MLX takes 15 ns there where a product takes 0.3 ns, so that the activation functions and the
softmax of attention cost as much as half of a small model's matrix products. Here it is MLX's polynomial as
one kernel of ``mx.compile``, which a compiler turns into vector instructions; mlx-lm's functions are made to
use it for the time of a forward.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx

from mlx_prune.environment import backend

# 2**x for x in [-1/2, 1/2] is a polynomial to 1e-7 (coefficients of Cephes' exp2f, Moshier 1992).
_POWERS_OF_TWO = (
    1.535336188319500e-4,
    1.339887440266574e-3,
    9.618437357674640e-3,
    5.550332471162809e-2,
    2.402264791363012e-1,
    6.931472028550421e-1,
    1.0,
)
_LOG2_E = 1.4426950408889634
# Added and taken away again it rounds a float32 to a whole number.
_ROUNDING = 12582912.0
_BIAS, _MANTISSA = 127, 1 << 23
# Powers of two outside have no normal float32.
_LARGEST = 126.0
# To call a compiled kernel costs as much as so many exponentials.
_FEW = 1 << 13


def _parts(x: mx.array) -> tuple[mx.array, mx.array]:
    """The exponential as a number about 1 and the bits of a power of two."""
    scaled = mx.clip(x * _LOG2_E, -_LARGEST, _LARGEST)
    whole = (scaled + _ROUNDING) - _ROUNDING
    rest = scaled - whole
    found = _POWERS_OF_TWO[0] * rest + _POWERS_OF_TWO[1]
    for coefficient in _POWERS_OF_TWO[2:]:
        found = found * rest + coefficient
    return found, (whole.astype(mx.int32) + _BIAS) * _MANTISSA


def _sigmoid(found: mx.array, power: mx.array) -> mx.array:
    return 1.0 / (1.0 + found * power)


def _tanh(x: mx.array, found: mx.array, power: mx.array) -> mx.array:
    # Near 0 the difference would lose its digits: the odd series up to x**7 is as exact there.
    square = x * x
    near = x * (1.0 + square * (-1 / 3 + square * (2 / 15 - square * (17 / 315))))
    return mx.where(mx.abs(x) < 0.15, near, 1.0 - 2.0 / (1.0 + found * power))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """One kernel for a function of arrays, also while compiling is switched off around it."""
    if os.environ.get("MLX_DISABLE_COMPILE"):
        return function
    together = mx.compile(function, shapeless=True)

    def call(*arrays: mx.array) -> Any:
        mx.enable_compile()
        try:
            return together(*arrays)
        finally:
            if _inside:
                mx.disable_compile()

    return call


_inside = 0
_parts_of, _sigmoid_of, _tanh_of = _compiled(_parts), _compiled(_sigmoid), _compiled(_tanh)


def needed() -> bool:
    """Whether MLX's own exponentials are slow here."""
    return sys.platform == "linux" and backend() == "cpu"


def exp(x: mx.array) -> mx.array:
    """The exponential of a float32 array to 2e-6 of it; tiny instead of 0 below e**-87."""
    if x.dtype != mx.float32 or x.size < _FEW or not needed():
        return mx.exp(x)
    found, bits = _parts_of(x)
    result: mx.array = found * bits.view(mx.float32)
    return result


def sigmoid(x: mx.array) -> mx.array:
    """The logistic function of a float32 array."""
    found, bits = _parts_of(-x)
    result: mx.array = _sigmoid_of(found, bits.view(mx.float32))
    return result


def tanh(x: mx.array) -> mx.array:
    """The hyperbolic tangent of a float32 array."""
    found, bits = _parts_of(x + x)
    result: mx.array = _tanh_of(x, found, bits.view(mx.float32))
    return result


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
