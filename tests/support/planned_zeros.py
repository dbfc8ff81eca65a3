"""How many zeros a recipe must put into a matrix, without pruning it."""

from __future__ import annotations

from mlx_prune.pruning.counts import prune_count
from mlx_prune.pruning.fields import CHANCE, ROW
from mlx_prune.pruning.recipe import Recipe, row_prune_count


def planned_zeros(out_features: int, in_features: int, recipe: Recipe) -> int | None:
    """Zeros that the recipe puts in a matrix; None where chance or the outliers decide."""
    if recipe.allocation is not None:
        return None
    if recipe.groups is not None or recipe.mask.per == ROW:
        return out_features * row_prune_count(in_features, recipe)
    if recipe.mask.per == CHANCE:
        return None
    return prune_count(out_features * in_features, recipe.target_sparsity)
