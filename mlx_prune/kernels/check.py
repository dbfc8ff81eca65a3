"""Compare the kernels with the portable operations on this machine, before they are trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.dtypes import bits_of, type_name
from mlx_prune.errors import one_line
from mlx_prune.kernels import launch, portable

TYPES = (mx.bfloat16, mx.float16, mx.float32)
# What differs between matrices, as MLX builds another kernel for it or other threads run: every input in
# `constant` memory (fewer than eight entries); only the numbers per chunk there (three chunks, one slab of
# tokens); none (nine chunks, three slabs).
SHAPES = ((2, 3), (37, 1021), (131, 1021))
# For a look at the machine that may take a moment: 258 chunks, 17 slabs, rows of 17 groups.
THOROUGH_SHAPES = (*SHAPES, (1031, 4099))
_TOLERANCE = 1e-5

_Call = Callable[[Any, mx.array, mx.array], mx.array]


@dataclass(frozen=True)
class KernelCheck:
    """One kernel with one type against its portable twin.

    Attributes:
        name: The function.
        dtype: The type, such as "float32".
        agrees: Whether they gave the same.
        detail: What differed, or went wrong, in a line.
        text: All that was said of it: a compiler's whole output.
    """

    name: str
    dtype: str
    agrees: bool
    detail: str
    text: str = ""


def compare(module: Any = launch, shapes: Sequence[tuple[int, int]] = SHAPES) -> list[KernelCheck]:
    """Check every kernel with every type; as :func:`check`.

    Args:
        module: Where the kernels are called.
        shapes: Of the matrices.
    """
    return [check(name, dtype, module, shapes) for name in FUNCTIONS for dtype in TYPES]


def check(
    name: str, dtype: mx.Dtype, module: Any = launch, shapes: Sequence[tuple[int, int]] = SHAPES
) -> KernelCheck:
    """Run a kernel on random matrices of a type beside its portable twin.

    Args:
        name: The function, one of :data:`FUNCTIONS`.
        dtype: The type of the matrices.
        module: Where the kernel is called.
        shapes: Of the matrices.

    Returns:
        The result. Selections must agree in every bit, sums to 1e-5 of their size; NaN agrees with nothing.
    """
    kind = type_name(dtype)
    detail = "equal sums" if name == "sum_of_squares" else "equal bits"
    for shape in shapes:
        weight, scale = _matrix(shape, dtype), mx.random.uniform(0.1, 2, shape[1:], key=mx.random.key(1))
        try:
            found = FUNCTIONS[name](module, weight, scale)
            wanted = FUNCTIONS[name](portable, weight, scale)
            mx.eval(found, wanted)
            wrong = _difference(name, found, wanted)
        except Exception as error:  # whatever the compiler or the driver says
            return KernelCheck(name, kind, False, summary(error), str(error))
        if wrong:
            detail = f"{wrong} on {shape[0]} x {shape[1]} weights"
            return KernelCheck(name, kind, False, detail)
    return KernelCheck(name, kind, True, detail)


FUNCTIONS: dict[str, _Call] = {
    "sum_of_squares": lambda m, w, _: m.sum_of_squares(w),
    "prune_rows": lambda m, w, s: m.prune_rows(w, s, max(1, w.shape[1] // 3)),
    "prune_matrix": lambda m, w, _: m.prune_matrix(w, w.size // 3),
    "prune_groups": lambda m, w, s: m.prune_groups(w, s, (4, 2, w.shape[1] % 4 // 2)),
}


def summary(error: Exception) -> str:
    """What went wrong, on one line: of a compiler's output its first error."""
    errors = [line.strip() for line in str(error).splitlines() if "error:" in line]
    return errors[0] if errors else one_line(error)


def _matrix(shape: tuple[int, int], dtype: mx.Dtype) -> mx.array:
    """Random weights, a third of them on a coarse grid: zeros of both signs, and ties of float32 too."""
    values = mx.random.normal(shape, key=mx.random.key(2))
    coarse = mx.arange(shape[0] * shape[1]).reshape(shape) % 3 == 0
    return mx.where(coarse, mx.round(values * 4) / 4, values).astype(dtype)


def _difference(name: str, found: mx.array, wanted: mx.array) -> str:
    """What is different, in a few words; empty if nothing is."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype} {found.shape} instead of {wanted.dtype} {wanted.shape}"
    if name != "sum_of_squares":
        wrong = np.count_nonzero(np.array(bits_of(found)) != np.array(bits_of(wanted)))
        return f"{wrong:,} of {wanted.size:,} differ" if wrong else ""
    exact = np.array(wanted, dtype=np.float64)
    error = np.abs(np.array(found, dtype=np.float64) - exact)
    # Written so that NaN, which is neither above nor below a limit, is wrong.
    wrong = np.count_nonzero(~(error <= _TOLERANCE * exact))
    return f"{wrong:,} of {wanted.size:,} sums differ by up to {np.max(error):.1e}" if wrong else ""
