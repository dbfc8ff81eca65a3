"""Compare the kernels with the portable operations on this machine, before they are trusted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx

from mlx_prune.environment import backend
from mlx_prune.errors import one_line
from mlx_prune.pruning import norms, select_portable
from mlx_prune.pruning.kernels import launch

_TYPES = (mx.bfloat16, mx.float16, mx.float32)
_SHAPE = (37, 1021)
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class KernelCheck:
    """One kernel against its portable twin.

    Attributes:
        name: The function.
        agrees: Whether they gave the same.
        detail: The largest difference, or what went wrong.
    """

    name: str
    agrees: bool
    detail: str


def compare(module: Any = launch) -> list[KernelCheck]:
    """Run every kernel on random matrices of each type beside its portable twin.

    Args:
        module: Where the kernels are called.

    Returns:
        One result per kernel. Selections must agree in every bit, sums to 1e-5.
    """
    return [_one(name, kernel, portable) for name, kernel, portable in _pairs(module)]


@cache
def usable() -> bool:
    """Whether the kernels run here and agree; decided once, with a warning if they do not."""
    if backend() == "cpu":
        return False
    failed = [result for result in compare() if not result.agrees]
    if failed:
        warnings.warn(
            f"GPU kernels are not used: {failed[0].name}: {failed[0].detail} (portable operations take their "
            "place; please report this with the output of `mlxprune doctor`).",
            stacklevel=2,
        )
    return not failed


_Call = Callable[[mx.array, mx.array], mx.array]


def _pairs(module: Any) -> list[tuple[str, _Call, _Call]]:
    k, counts = _SHAPE[1] // 3, (4, 2, 0)
    return [
        ("sum_of_squares", lambda w, _: module.sum_of_squares(w), lambda w, _: norms.portable(w)),
        (
            "prune_rows",
            lambda w, s: module.prune_rows(w, s, k),
            lambda w, s: select_portable.prune_rows(w, s, k),
        ),
        (
            "prune_matrix",
            lambda w, _: module.prune_matrix(w, w.size // 3),
            lambda w, _: select_portable.prune_matrix(w, w.size // 3),
        ),
        (
            "prune_groups",
            lambda w, s: module.prune_groups(w, s, counts),
            lambda w, s: select_portable.prune_groups(w, s, counts),
        ),
    ]


def _one(name: str, kernel: _Call, portable: _Call) -> KernelCheck:
    scale = mx.random.uniform(0.1, 2, (_SHAPE[1],), key=mx.random.key(1))
    worst = 0.0
    for dtype in _TYPES:
        weight = mx.random.normal(_SHAPE, key=mx.random.key(2)).astype(dtype)
        try:
            found, wanted = kernel(weight, scale), portable(weight, scale)
            difference = mx.abs(found.astype(mx.float32) - wanted.astype(mx.float32))
            relative = mx.max(difference / mx.maximum(mx.abs(wanted.astype(mx.float32)), 1e-6))
            worst = max(worst, float(relative.item()))  # type: ignore[arg-type]
        except Exception as error:  # whatever the compiler or the driver says
            return KernelCheck(name, False, one_line(error))
    limit = _TOLERANCE if name == "sum_of_squares" else 0.0
    return KernelCheck(name, worst <= limit, f"largest relative difference {worst:.1e}")
