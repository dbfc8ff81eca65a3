"""Quick exponentials are exponentials, and MLX is as before when they are done."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.activations import swiglu

from mlx_prune.generation import quick

SIZE = 1 << 14  # below, MLX's own are used


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    monkeypatch.setattr(quick, "needed", lambda: True)


def numbers(scale):
    return np.random.default_rng(0).normal(0, scale, SIZE).astype(np.float32)


@pytest.mark.parametrize("scale", [0.05, 1, 20])
def test_functions_are_those_of_float64_to_some_units_in_the_last_place(scale):
    x = numbers(scale)
    exact = x.astype(np.float64)
    near = {"rtol": 1e-7 * (10 + np.abs(x).max()), "atol": 1e-37}
    np.testing.assert_allclose(quick.exp(mx.array(x)), np.exp(exact), **near)
    np.testing.assert_allclose(quick.sigmoid(mx.array(x)), 1 / (1 + np.exp(-exact)), **near)
    np.testing.assert_allclose(quick.tanh(mx.array(x)), np.tanh(exact), rtol=2e-6)
    np.testing.assert_allclose(quick.silu(mx.array(x)), exact / (1 + np.exp(-exact)), **near)


def test_extremes_stay_in_range_and_no_number_stays_none():
    x = np.tile(np.array([-1e30, -200, -88, 0, 88, np.nan], np.float32), SIZE // 4)
    found = np.array(quick.exp(mx.array(x)))[:6]
    assert (found[:3] >= 0).all()
    assert (found[:3] < 1e-37).all()
    assert found[3] == 1
    assert 1e37 < found[4] < np.inf
    assert np.isnan(found[5])
    assert np.array(quick.sigmoid(mx.array(x)))[[0, 3]].tolist() == pytest.approx([0, 0.5], abs=1e-37)
    assert np.array(quick.tanh(mx.array(x)))[[0, 3]].tolist() == [-1, 0]


def test_what_mlx_lm_has_compiled_uses_them_meanwhile():
    gate, up = (mx.array(numbers(scale)) for scale in (3, 1))
    expected = swiglu(gate, up), nn.gelu_approx(gate), mx.softmax(gate.reshape(64, -1), axis=-1)
    sigmoid, softmax = mx.sigmoid, mx.softmax
    asked = []
    original = quick._by_numpy
    quick._by_numpy = lambda function, x: asked.append(x.size) or original(function, x)
    try:
        with quick.quick_functions():
            found = swiglu(gate, up), nn.gelu_approx(gate), mx.softmax(gate.reshape(64, -1), axis=-1)
            lse = mx.logsumexp(gate.reshape(64, -1), axis=-1, keepdims=True)
            mx.eval(found, lse)
    finally:
        quick._by_numpy = original
    assert asked == [SIZE] * 3
    assert (mx.sigmoid, mx.softmax) == (sigmoid, softmax)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lse, mx.logsumexp(gate.reshape(64, -1), axis=-1, keepdims=True), rtol=1e-6)


def test_other_types_and_small_arrays_are_computed_by_mlx():
    half = mx.array(numbers(1)).astype(mx.bfloat16)
    few = mx.array(numbers(1)[:10])
    with quick.quick_functions():
        assert mx.array_equal(quick.exp(half), mx.exp(half))
        assert mx.sigmoid(half).dtype == mx.bfloat16
        assert mx.softmax(half, axis=-1, precise=True).dtype == mx.bfloat16
        assert mx.array_equal(quick.exp(few), mx.exp(few))
        assert mx.softmax(few, axis=(0,)).shape == (10,)


def test_the_logarithm_of_no_probability_at_all_is_minus_infinity():
    x = mx.array(np.where(np.arange(2 * SIZE) < SIZE, -np.inf, 1).astype(np.float32).reshape(2, SIZE))
    with quick.quick_functions():
        found = mx.logsumexp(x, axis=-1)
        mx.eval(found)
    assert found[0].item() == -np.inf
    assert found[1].item() == pytest.approx(1 + np.log(SIZE))


@pytest.mark.parametrize(("shape", "axis"), [((3, 5, 1 << 11), -1), ((2, 1 << 17), 1), ((64, 4, 256), 1)])
def test_the_logarithm_of_summed_exponentials_is_that_of_float64(shape, axis):
    x = np.random.default_rng(1).normal(0, 30, shape).astype(np.float32)
    with quick.quick_functions():
        found = mx.logsumexp(mx.array(x), axis=axis)
        kept = mx.logsumexp(mx.array(x), axis=axis, keepdims=True)
        mx.eval(found, kept)
    exact = np.logaddexp.reduce(x.astype(np.float64), axis=axis)
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(kept, np.expand_dims(np.array(found), axis))


def test_attention_of_some_kinds_is_mlxs_own(monkeypatch):
    q = mx.random.normal((2, 4, 64, 16))
    monkeypatch.setattr(quick, "attention", lambda *_, **__: pytest.fail("computed by NumPy"))
    masks = mx.random.normal((2, 1, 64, 64))
    for array, more in (
        (q, {"mask": masks}),
        (q, {"mask": None, "sinks": mx.zeros(4)}),
        (q.astype(mx.bfloat16), {"mask": "causal"}),
        (q[:1, :, :8], {"mask": None}),
    ):
        expected = mx.fast.scaled_dot_product_attention(array, array, array, scale=1.0, **more)
        with quick.quick_functions():
            found = mx.fast.scaled_dot_product_attention(array, array, array, scale=1.0, **more)
        assert mx.array_equal(found, expected)


def test_mlx_is_itself_again_after_an_error():
    before = mx.tanh, mx.sigmoid, mx.softmax, mx.logsumexp, nn.silu, mx.fast.scaled_dot_product_attention
    with pytest.raises(RuntimeError), quick.quick_functions(), quick.quick_functions():
        raise RuntimeError
    after = mx.tanh, mx.sigmoid, mx.softmax, mx.logsumexp, nn.silu, mx.fast.scaled_dot_product_attention
    assert after == before
