"""Positions by token are MLX's own, with angles that are kept."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_prune.generation.rotary import Rotary

TOKENS = 37


def turned_alone(a, positions, dims, **more):
    """Each token by itself."""
    parts = [
        mx.fast.rope(a[:, :, at : at + 1], dims, offset=int(position), **more)
        for at, position in enumerate(positions)
    ]
    return mx.concatenate(parts, axis=2)


@pytest.mark.parametrize("traditional", [False, True])
@pytest.mark.parametrize("dims", [32, 20])
@pytest.mark.parametrize("angles", ["base", "scale", "freqs"])
def test_tokens_are_turned_as_if_each_were_alone(traditional, dims, angles):
    rng = np.random.default_rng(dims)
    positions = rng.integers(0, 900, TOKENS)
    more = {
        "base": {"base": 1e4, "scale": 1.0},
        "scale": {"base": 5e5, "scale": 0.25},
        "freqs": {
            "base": None,
            "scale": 1.0,
            "freqs": mx.array(rng.uniform(1, 90, dims // 2).astype(np.float32)),
        },
    }[angles] | {"traditional": traditional}
    rotary, offset = Rotary(mx.fast.rope), mx.array(positions.astype(np.int32))
    for heads in (4, 1):
        by_token = rng.normal(size=(1, TOKENS, heads, 32)).astype(np.float32)
        a = mx.array(by_token).transpose(0, 2, 1, 3)
        found = rotary(a, dims, offset=offset, **more)
        np.testing.assert_allclose(found, turned_alone(a, positions, dims, **more), atol=2e-5)


def test_angles_are_computed_once_for_all_layers_and_anew_for_other_positions():
    asked = []

    def rope(a, dims, **more):
        asked.append(a.shape)
        return mx.fast.rope(a, dims, **more)

    rotary, a = Rotary(rope), mx.ones((1, 3, TOKENS, 8))
    more = {"traditional": False, "base": 1e4, "scale": 1.0}
    first = mx.arange(TOKENS)
    once = rotary(a, 8, offset=first, **more)
    again = rotary(a, 8, offset=first, **more)
    assert asked == [(TOKENS, 1, 1, 8)]
    assert mx.array_equal(once, again)
    later = rotary(a, 8, offset=mx.arange(TOKENS) + 5, **more)
    assert len(asked) == 2
    assert not mx.allclose(once, later)


def test_other_types_are_turned_by_mlx():
    a = mx.random.normal((1, 2, TOKENS, 16)).astype(mx.bfloat16)
    positions = np.arange(TOKENS)
    more = {"traditional": False, "base": 1e4, "scale": 1.0}
    found = Rotary(mx.fast.rope)(a, 16, offset=mx.array(positions.astype(np.int32)), **more)
    assert found.dtype == mx.bfloat16
    assert mx.array_equal(found, turned_alone(a, positions, 16, **more))
