"""Depth: whole transformer blocks go, those that change their input least on calibration text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune.errors import RecipeError
from mlx_prune.pruning.methods.base import Share, Structure
from mlx_prune.pruning.methods.width import REPAIR
from mlx_prune.registry import Look, Modifier, option

if TYPE_CHECKING:
    from mlx_prune.pruning.structure.recipe import StructuredRecipe


@dataclass(frozen=True, kw_only=True)
class DepthOptions(Share):
    """What depth alone takes.

    Attributes:
        contiguous: One run of blocks goes, the one whose input and output are closest by angle (Gromov et al.
            2024, arXiv 2403.17887); else the blocks of least influence, one minus the mean cosine similarity
            of a block's input and output (Men et al. 2024, arXiv 2403.03853).
    """

    contiguous: bool = option(False, help="{methods}: remove one run of neighboring blocks.")

    def removed_blocks(self, blocks: int) -> int:
        """How many blocks go.

        Raises:
            RecipeError: Rounding would remove none of them.
        """
        return self.removed(blocks, "blocks")


class Depth(Structure):
    """Blocks of least influence go, or one run of neighbors; scored on the dense model."""

    name, removes = "depth", "whole blocks"
    refusal = "Depth removes whole blocks by what they change"
    own = ("contiguous", "repair")
    modifiers = (
        Modifier(
            "contiguous",
            "contiguous",
            True,
            "the blocks are neighbors, chosen by the angle between what enters and leaves them "
            "(Gromov et al., 2024)",
        ),
        REPAIR,
    )
    words = (
        "whole transformer blocks are removed, those that change their input least on calibration text "
        "(Men et al., 2024)"
    )
    look = Look(
        "violet",
        "X",
        "--",
        {("repair",): "left", ("contiguous",): "top", ("contiguous", "repair"): "right"},
    )

    @property
    def settings(self) -> frozenset[str]:
        """Its statistics are always of the dense model."""
        return frozenset({"seed", "calibration"})

    def check(self, recipe: StructuredRecipe) -> None:
        """Statistics are of the dense model."""
        if recipe.statistics == "sequential":
            raise RecipeError(
                "Depth scores all blocks on the dense model, so sequential statistics would be ignored; "
                "leave them out."
            )


METHOD = Depth()
