"""Weights are zeroed by whatever computes here, and zeros are told by their bits."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_prune.kernels import portable, zeroing

TYPES = (mx.float32, mx.bfloat16, mx.float16)


@pytest.fixture(params=TYPES, ids=str)
def weight(request):
    return mx.random.normal((17, 30), key=mx.random.key(0)).astype(request.param)


@pytest.mark.parametrize("in_place", [False, True])
def test_every_implementation_zeroes_the_same_weights(weight, in_place):
    scale = mx.random.uniform(0.1, 2, (30,), key=mx.random.key(1))
    for function, arguments in (
        ("prune_rows", (scale, 11)),
        ("prune_rows", (None, 11)),
        ("prune_matrix", (200,)),
        ("prune_groups", (scale, (4, 2, 1))),
    ):
        mine = mx.array(np.array(weight.view(mx.uint8))).view(weight.dtype)
        found = getattr(zeroing, function)(mine, *arguments, in_place=in_place)
        assert mx.array_equal(found, getattr(portable, function)(weight, *arguments))


def test_what_is_not_to_be_written_over_stays(weight):
    before = mx.array(weight.tolist()).astype(weight.dtype)
    zeroing.prune_matrix(weight, 300)
    zeroing.prune_random(weight, 0.5, 0, "w")
    assert mx.array_equal(weight, before)


def test_chance_is_a_share_or_a_count_in_every_group(weight):
    grouped = zeroing.prune_random(weight, (5, 3, 0), 0, "w")
    assert mx.array_equal(mx.sum(grouped.reshape(17, 6, 5) == 0, axis=-1), mx.full((17, 6), 3))
    drawn = zeroing.count_zeros(zeroing.prune_random(weight, 0.5, 0, "w"))
    assert 200 < drawn < 310


def test_numbers_that_are_none_are_found(weight):
    assert zeroing.all_finite(weight)
    for odd in (float("nan"), float("inf")):
        assert not zeroing.all_finite(mx.where(mx.arange(30) == 7, mx.array(odd, weight.dtype), weight))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_zeros_are_counted_on_bits_where_subnormal_numbers_compare_as_zero(dtype, monkeypatch):
    sign, bits = 1 << (8 * dtype.size - 1), {4: mx.uint32, 2: mx.uint16}[dtype.size]
    weight = mx.array([0, sign, 1, sign | 1, 0x7F, sign | 0x40], bits).view(
        dtype
    )  # the last four are subnormal
    compare = mx.array.__eq__
    smallest_normal = {mx.float32: 2.0**-126, mx.bfloat16: 2.0**-126, mx.float16: 2.0**-14}

    def as_on_metal(values, other):
        if values.dtype == dtype:
            values = mx.where(mx.abs(values) < smallest_normal[dtype], mx.zeros_like(values), values)
        return compare(values, other)

    monkeypatch.setattr(mx.array, "__eq__", as_on_metal)
    assert (weight == 0).all().item()
    assert zeroing.is_zero(weight).tolist() == [True, True, False, False, False, False]
    assert zeroing.count_zeros(weight) == 2
    assert zeroing.count_zeros(mx.array([0, 3, 0, 7], mx.int32)) == 2
