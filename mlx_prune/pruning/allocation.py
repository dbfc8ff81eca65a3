"""Sparsities that differ between blocks: what a rule finds, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlx_prune.registry import Modifier

if TYPE_CHECKING:
    from mlx_prune.activations.statistics import SquareSums
    from mlx_prune.checkpoint.matrices import PrunableLinear
    from mlx_prune.pruning.recipe import Recipe


@dataclass(frozen=True)
class Allocation:
    """Sparsities that differ between blocks.

    Attributes:
        measured: What the rule found in each block of the dense network.
        sparsities: Of each block, as a fraction, before it is rounded to whole weights.
        matrices: By layer name, the fraction that a method's exact count takes; rounding errors are carried
            from matrix to matrix, so that the model as a whole meets the target.
        record: As recorded beside a result.
    """

    measured: tuple[float, ...]
    sparsities: tuple[float, ...]
    matrices: Mapping[str, float]
    record: Mapping[str, Any]

    def recipe(self, recipe: Recipe, name: str) -> Recipe:
        """The recipe of one matrix."""
        return replace(recipe, sparsity=self.matrices[name], allocation=None)


@dataclass(frozen=True)
class AllocationRule(Modifier, ABC):
    """A modifier that gives each block a sparsity of its own, by what it finds in the dense network."""

    @abstractmethod
    def of_block(
        self, recipe: Recipe, linears: Sequence[PrunableLinear], sums: Mapping[str, SquareSums]
    ) -> float:
        """What it looks for in one block.

        Args:
            recipe: Matrices it does not prune are not looked at.
            linears: Of the block, their weights in memory.
            sums: By layer name, measured on the dense network.
        """

    @abstractmethod
    def allocate(
        self, recipe: Recipe, linears: Sequence[PrunableLinear], measured: Sequence[float]
    ) -> Allocation:
        """Give every matrix its sparsity.

        Args:
            recipe: Its target, and what it prunes.
            linears: All prunable linears, block by block.
            measured: Of each block.

        Returns:
            The sparsities; weighted by parameters, they average to the target, to the rounding of one matrix.
        """
