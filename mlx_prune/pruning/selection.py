"""Zero the weights that a recipe removes from one matrix, on whatever device there is."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_prune.checkpoint.matrices import not_finite
from mlx_prune.dtypes import MAGNITUDE, type_name
from mlx_prune.errors import CheckpointError
from mlx_prune.kernels import zeroing
from mlx_prune.kernels.cpu import smallest_in_groups, smallest_in_rows
from mlx_prune.pruning.counts import group_prune_count, prune_count
from mlx_prune.pruning.fields import CHANCE, ROW, SQUARE_SUMS
from mlx_prune.pruning.recipe import Recipe, row_prune_count


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
    if type_name(weight.dtype) not in MAGNITUDE:
        raise CheckpointError(f"{name} is stored as {weight.dtype}, and only float weights can be pruned.")
    method = recipe.mask
    if method.changes_weights:
        raise ValueError(f"{method} changes weights, so its own prune takes this one's place")
    if (method.statistic == SQUARE_SUMS) != (scale is not None):
        raise ValueError("methods with sums of squares, and only these, take a scale")
    if not zeroing.all_finite(weight):
        raise not_finite(name)
    counts = None if recipe.groups is None else _group_counts(weight, recipe.groups)
    if method.per == CHANCE:
        assert recipe.seed is not None
        amount = recipe.target_sparsity if counts is None else counts
        return zeroing.prune_random(weight, amount, recipe.seed, name, in_place=in_place)
    if counts is not None:
        return zeroing.prune_groups(weight, scale, counts, in_place=in_place)
    if method.per == ROW:
        k = row_prune_count(weight.shape[1], recipe)
        return zeroing.prune_rows(weight, scale, k, in_place=in_place)
    k = prune_count(weight.size, recipe.target_sparsity)
    return zeroing.prune_matrix(weight, k, in_place=in_place)


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
    if not zeroing.all_finite(weight):
        raise not_finite(name)
    values = np.array(scores.astype(mx.float32))
    if values.shape != weight.shape or not np.isfinite(values).all():
        raise CheckpointError(
            f"{recipe.mask} gives {name} scores that are not finite or not one per weight; mend its method."
        )
    if recipe.groups is not None:
        marked = smallest_in_groups(values, _group_counts(weight, recipe.groups))
    elif recipe.mask.per == ROW:
        marked = smallest_in_rows(values, row_prune_count(weight.shape[1], recipe))
    else:
        count = prune_count(weight.size, recipe.target_sparsity)
        marked = smallest_in_rows(values.reshape(1, -1), count).reshape(values.shape)
    return mx.where(mx.array(marked), mx.zeros_like(weight), weight)


def _group_counts(weight: mx.array, groups: tuple[int, int]) -> tuple[int, int, int]:
    keep, size = groups
    rest = weight.shape[1] % size
    return size, group_prune_count(size, keep, size), group_prune_count(rest, keep, size)
