"""Zero weights of a matrix by whatever does it best here: a kernel, MLX, or NumPy; and count zeros."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.dtypes import MAGNITUDE, bits_of, type_name
from mlx_prune.environment import backend
from mlx_prune.kernels import choice, cpu, launch, portable

Counts = tuple[int, int, int]


def prune_rows(weight: mx.array, scale: mx.array | None, k: int, *, in_place: bool = False) -> mx.array:
    """Zero, in each row, the k weights of smallest ``|w| * scale``, ties by lowest index.

    Args:
        weight: [out, in], finite; float32, bfloat16 or float16.
        scale: [in] non-negative float32; None for ``|w|`` alone.
        k: Weights to zero per row, 0 <= k <= in.
        in_place: The memory of ``weight`` may be written over (on a CPU); it must not be used afterwards.

    Returns:
        The pruned matrix, evaluated: zeros where pruned, every other bit unchanged.
    """
    return _smallest("prune_rows", weight, (scale, k), in_place)


def prune_matrix(weight: mx.array, k: int, *, in_place: bool = False) -> mx.array:
    """Zero the k weights of smallest magnitude in the whole matrix; the rest as in :func:`prune_rows`."""
    return _smallest("prune_matrix", weight, (k,), in_place)


def prune_groups(
    weight: mx.array, scale: mx.array | None, counts: Counts, *, in_place: bool = False
) -> mx.array:
    """Zero the least important weights of every group of consecutive inputs; else as :func:`prune_rows`.

    Args:
        weight: [out, in].
        scale: [in] or None.
        counts: Group size; weights to zero in a whole group; and in a last, incomplete one.
        in_place: The memory of ``weight`` may be written over.
    """
    return _smallest("prune_groups", weight, (scale, counts), in_place)


def _smallest(function: str, weight: mx.array, arguments: tuple[Any, ...], in_place: bool) -> mx.array:
    if backend() != "cpu":
        return choice.attempt(lambda: _on_gpu(function, weight, arguments))
    held, bits = _held(weight, in_place)
    in_numpy = [np.array(a, copy=False) if isinstance(a, mx.array) else a for a in arguments]
    getattr(cpu, function)(bits, type_name(weight.dtype), *in_numpy)
    choice.note(function, weight.dtype, choice.NUMPY)
    return held.view(weight.dtype)


def _on_gpu(function: str, weight: mx.array, arguments: tuple[Any, ...]) -> mx.array:
    """By a kernel where it can be trusted; evaluated, so that a failure shows here."""
    module: ModuleType = launch if choice.usable(function, weight.dtype) else portable
    pruned: mx.array = getattr(module, function)(weight, *arguments)
    mx.eval(pruned)
    return pruned


def prune_random(
    weight: mx.array, amount: float | Counts, seed: int, name: str, *, in_place: bool = False
) -> mx.array:
    """Zero weights by chance; drawn on the CPU everywhere, so that a seed means the same mask.

    Args:
        weight: As in :func:`prune_rows`.
        amount: The probability of each weight, or the counts of :func:`prune_groups`.
        seed: A non-negative integer.
        name: The matrix's name, part of what a seed means.
        in_place: As in :func:`prune_rows`.

    Returns:
        As in :func:`prune_rows`.
    """
    held, bits = _held(weight, in_place)
    if isinstance(amount, tuple):
        cpu.prune_random_groups(bits, amount, seed, name)
    else:
        cpu.prune_random(bits, amount, seed, name)
    return held.view(weight.dtype)


def _held(weight: mx.array, in_place: bool) -> tuple[mx.array, cpu.Bits]:
    """The weight's bits, or a copy of them, in MLX and as a NumPy array of the same, writable memory."""
    held = bits_of(weight)
    if not in_place:
        held = mx.array(np.array(held, copy=False))
    return held, np.array(held, copy=False)


def all_finite(weight: mx.array) -> bool:
    """Whether a matrix of floats holds neither NaN nor infinity."""
    if backend() != "cpu":
        return bool(mx.isfinite(weight).all().item())
    return cpu.all_finite(np.array(bits_of(weight), copy=False), type_name(weight.dtype))


def count_zeros(weight: mx.array) -> int:
    """How many entries of an array are exactly zero (of either sign)."""
    return int(mx.sum(is_zero(weight)).item())  # type: ignore[arg-type]


def is_zero(weight: mx.array) -> mx.array:
    """Which entries of an array are exactly zero (of either sign); floats are told by their bits.

    Metal takes subnormal numbers for zero where it compares them.
    """
    magnitude = MAGNITUDE.get(type_name(weight.dtype))
    if magnitude is None:
        return weight == 0
    bits = bits_of(weight)
    return (bits & mx.array(magnitude, bits.dtype)) == 0
