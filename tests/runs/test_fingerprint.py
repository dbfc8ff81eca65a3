"""Fingerprints see every change of weights and prompts."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_prune.runs.fingerprint import _checksum, model_fingerprint, tokens_fingerprint


def linear(weight, dtype=mx.float32):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = mx.array(weight).astype(dtype)
    return layer


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
def test_model_fingerprint_sees_one_changed_or_moved_weight(dtype):
    weight = np.random.default_rng(0).normal(size=(7, 13)).astype(np.float32)
    before = model_fingerprint(linear(weight, dtype))
    assert before == model_fingerprint(linear(weight.copy(), dtype))
    zeroed = weight.copy()
    zeroed[3, 4] = 0
    swapped = weight.copy()
    swapped[0, 0], swapped[6, 12] = weight[6, 12], weight[0, 0]
    assert (
        len({before, model_fingerprint(linear(zeroed, dtype)), model_fingerprint(linear(swapped, dtype))})
        == 3
    )


def test_model_fingerprint_sees_the_type():
    weight = np.zeros((2, 2), np.float32)
    assert model_fingerprint(linear(weight)) != model_fingerprint(linear(weight, mx.bfloat16))


def test_checksum_is_integer_arithmetic_modulo_2_to_the_32():
    bits = np.random.default_rng(1).integers(0, 2**32, 5000, dtype=np.uint64)
    weights = (np.arange(5000, dtype=np.uint64) * (2654435761 * 2 % 2**32) + 1) % 2**32
    expected = [int(bits.sum() % 2**32), int((bits * weights % 2**32).sum() % 2**32)]
    assert _checksum(mx.array(bits.astype(np.uint32))) == expected


def test_tokens_fingerprint_sees_where_prompts_end():
    assert tokens_fingerprint([[1, 2], [3]]) != tokens_fingerprint([[1], [2, 3]])
