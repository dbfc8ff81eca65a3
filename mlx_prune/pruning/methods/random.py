"""Random: each weight goes with the same probability, a control for what sparsity alone does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlx_prune.pruning.fields import CHANCE
from mlx_prune.pruning.method import Mask, Matrix
from mlx_prune.registry import Look

if TYPE_CHECKING:
    import mlx.core as mx


class Random(Mask):
    """Each weight with probability ``sparsity``; with a pattern, a uniform choice in every group."""

    name, per, draws = "random", CHANCE, True
    words = "weights are zeroed by chance, whatever their value; a control for what sparsity alone does"
    look = Look("pink", "^", ":")

    def prune(self, weight: mx.array, matrix: Matrix, inputs: None) -> mx.array:
        """Drawn from the seed and the matrix's name, on the CPU everywhere."""
        from mlx_prune.pruning.selection import prune_weight

        return prune_weight(weight, matrix.recipe, matrix.name, inputs, in_place=matrix.in_place)


METHOD = Random()
