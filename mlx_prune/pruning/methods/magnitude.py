"""Magnitude: the smallest ``|w|`` of each matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlx_prune.pruning.fields import MATRIX
from mlx_prune.pruning.method import Mask, Matrix
from mlx_prune.registry import Look

if TYPE_CHECKING:
    import mlx.core as mx


class Magnitude(Mask):
    """The smallest ``|w|`` of each matrix, ties by lowest index."""

    name, per = "magnitude", MATRIX
    words = "the weights of smallest absolute value are zeroed"
    look = Look("blue", "o", "--")

    def prune(self, weight: mx.array, matrix: Matrix, inputs: None) -> mx.array:
        """By a kernel where there is one."""
        from mlx_prune.pruning.selection import prune_weight

        return prune_weight(weight, matrix.recipe, matrix.name, inputs, in_place=matrix.in_place)


METHOD = Magnitude()
