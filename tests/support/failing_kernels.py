"""Kernels on the shim that fail beyond the check of them, or that tell what was called."""

from __future__ import annotations

import mlx.core as mx
import pytest
from shimmed_kernels import shim

from mlx_prune.kernels import check

CHECKED = {*check.SHAPES, *((rows * columns,) for rows, columns in check.SHAPES)}
SAID = "[METAL] Command buffer execution failed: no room"


def failing_when_evaluated(shape, dtype):
    """An array that raises in mx.eval; a skip on a GPU, which may hang when the CPU fails it.

    The shim reads inputs through NumPy, which does not tell, so only a function's last kernel may do this.
    """
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("needs MLX on the CPU")
    return mx.zeros(shape, dtype) + mx.linalg.inv(mx.zeros((2, 2)))[0, 0].astype(dtype)


def failing_beyond_the_check(*names: str, lazily: bool = False):
    """Kernels that pass the check, and fail on every other shape."""

    def run(name, inputs, *rest):
        if name not in names or inputs[0].shape in CHECKED:
            return shim("metal")(name, inputs, *rest)
        if lazily:
            return failing_when_evaluated(rest[2], rest[3])
        raise RuntimeError(SAID)

    return run


def counting(calls: list[str]):
    def run(name, *rest):
        calls.append(name)
        return shim("metal")(name, *rest)

    return run
