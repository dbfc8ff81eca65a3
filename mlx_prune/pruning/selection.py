"""Zero the weights that a recipe removes from one matrix, on whatever device there is."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.environment import backend
from mlx_prune.errors import CheckpointError
from mlx_prune.kernels import choice, launch
from mlx_prune.kernels import cpu as select_cpu
from mlx_prune.kernels import portable as select_portable
from mlx_prune.pruning.methods.base import CHANCE, ROW, SQUARE_SUMS
from mlx_prune.pruning.recipe import Recipe, group_prune_count, prune_count, row_prune_count

_BITS = {mx.float32: mx.uint32, mx.bfloat16: mx.uint16, mx.float16: mx.uint16}
_MAGNITUDE = {mx.float32: 0x7FFFFFFF, mx.bfloat16: 0x7FFF, mx.float16: 0x7FFF}
_NAMES = {mx.float32: "float32", mx.bfloat16: "bfloat16", mx.float16: "float16"}


def prune_weight(
    weight: mx.array, recipe: Recipe, name: str, scale: mx.array | None = None, *, in_place: bool = False
) -> mx.array:
    """Zero the weights of smallest ``|w|`` or ``|w| * scale`` in one matrix, or draw them, as a recipe says.

    Args:
        weight: [out, in]; float32, bfloat16 or float16. Decided on these very values.
        recipe: What to remove. Scope and calibration do not matter here.
        name: The matrix's name: it seeds random masks, and errors carry it.
        scale: [in] float32 root mean square of the inputs, of a method that measures it; else None.
        in_place: The memory of ``weight`` may be written over (on a CPU); it must not be used afterwards.

    Returns:
        The pruned matrix: zeros where pruned, every other bit unchanged.

    Raises:
        CheckpointError: The matrix is not of a float type, or holds NaN or infinity.
    """
    if weight.dtype not in _BITS:
        raise CheckpointError(f"{name} is stored as {weight.dtype}, and only float weights can be pruned.")
    method = recipe.mask
    if method.changes_weights:
        raise ValueError(f"{method} changes weights, so its own prune takes this one's place")
    if (method.statistic == SQUARE_SUMS) != (scale is not None):
        raise ValueError("methods with sums of squares, and only these, take a scale")
    if backend() == "cpu" or method.per == CHANCE:
        return _on_cpu(weight, recipe, name, scale, in_place)
    if not mx.isfinite(weight).all().item():
        raise not_finite(name)
    return choice.attempt(lambda: _on_gpu(weight, recipe, scale))


def _on_gpu(weight: mx.array, recipe: Recipe, scale: mx.array | None) -> mx.array:
    """By a kernel where it can be trusted; evaluated, so that a failure shows here."""
    arguments: tuple[Any, ...]
    if recipe.groups is not None:
        function, arguments = "prune_groups", (scale, _group_counts(weight, recipe.groups))
    elif recipe.mask.per == ROW:
        function, arguments = "prune_rows", (scale, row_prune_count(weight.shape[1], recipe))
    else:
        function, arguments = "prune_matrix", (prune_count(weight.size, recipe.target_sparsity),)
    module: ModuleType = launch if choice.usable(function, weight.dtype) else select_portable
    pruned: mx.array = getattr(module, function)(weight, *arguments)
    mx.eval(pruned)
    return pruned


def _on_cpu(weight: mx.array, recipe: Recipe, name: str, scale: mx.array | None, in_place: bool) -> mx.array:
    held = weight.view(_BITS[weight.dtype])
    if not in_place:
        held = mx.array(np.array(held, copy=False))
    bits: np.ndarray[Any, Any] = np.array(held, copy=False)  # writable, and MLX's own memory
    dtype = _NAMES[weight.dtype]
    if not select_cpu.all_finite(bits, dtype):
        raise not_finite(name)
    factors = None if scale is None else np.array(scale, copy=False)
    function = None
    if recipe.mask.per == CHANCE:
        assert recipe.seed is not None
        if recipe.groups is not None:
            select_cpu.prune_random_groups(bits, _group_counts(weight, recipe.groups), recipe.seed, name)
        else:
            select_cpu.prune_random(bits, recipe.target_sparsity, recipe.seed, name)
    elif recipe.groups is not None:
        function = "prune_groups"
        select_cpu.prune_groups(bits, dtype, factors, _group_counts(weight, recipe.groups))
    elif recipe.mask.per == ROW:
        function = "prune_rows"
        select_cpu.prune_rows(bits, dtype, factors, row_prune_count(weight.shape[1], recipe))
    else:
        function = "prune_matrix"
        select_cpu.prune_matrix(bits, dtype, prune_count(weight.size, recipe.target_sparsity))
    if function is not None:  # random masks are drawn on the CPU everywhere
        choice.note(function, weight.dtype, choice.NUMPY)
    return held.view(weight.dtype)


def zero_smallest(weight: mx.array, scores: mx.array, recipe: Recipe, name: str) -> mx.array:
    """Zero the weights of smallest score in one matrix, on the CPU.

    Args:
        weight: [out, in]; float32, bfloat16 or float16.
        scores: [out, in], of equal ones the first goes.
        recipe: How many go, and among which: those of each group, each row, or of the whole matrix.
        name: The matrix's name, for errors.

    Returns:
        The pruned matrix: zeros where pruned, every other bit unchanged.

    Raises:
        CheckpointError: Weights or scores are not finite.
    """
    if not mx.isfinite(weight).all().item():
        raise not_finite(name)
    values = np.array(scores.astype(mx.float32))
    if values.shape != weight.shape or not np.isfinite(values).all():
        raise CheckpointError(
            f"{recipe.mask} gives {name} scores that are not finite or not one per weight; mend its method."
        )
    if recipe.groups is not None:
        marked = select_cpu.smallest_in_groups(values, _group_counts(weight, recipe.groups))
    elif recipe.mask.per == ROW:
        marked = select_cpu.smallest_in_rows(values, row_prune_count(weight.shape[1], recipe))
    else:
        count = prune_count(weight.size, recipe.target_sparsity)
        marked = select_cpu.smallest_in_rows(values.reshape(1, -1), count).reshape(values.shape)
    return mx.where(mx.array(marked), mx.zeros_like(weight), weight)


def count_zeros(weight: mx.array) -> int:
    """How many entries of an array are exactly zero (of either sign)."""
    return int(mx.sum(is_zero(weight)).item())  # type: ignore[arg-type]


def is_zero(weight: mx.array) -> mx.array:
    """Which entries of an array are exactly zero (of either sign); floats are told by their bits.

    Metal takes subnormal numbers for zero where it compares them.
    """
    if weight.dtype not in _BITS:
        return weight == 0
    bits = weight.view(_BITS[weight.dtype])
    return (bits & mx.array(_MAGNITUDE[weight.dtype], bits.dtype)) == 0


def _group_counts(weight: mx.array, groups: tuple[int, int]) -> tuple[int, int, int]:
    keep, size = groups
    rest = weight.shape[1] % size
    return size, group_prune_count(size, keep, size), group_prune_count(rest, keep, size)


def not_finite(name: str) -> CheckpointError:
    """What to raise where a matrix holds NaN or infinity."""
    return CheckpointError(
        f"{name} holds NaN or infinite weights; the checkpoint is damaged, download or convert it again."
    )
