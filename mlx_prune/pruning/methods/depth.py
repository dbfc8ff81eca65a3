"""Depth: whole transformer blocks go, those that change their input least on calibration text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mlx_prune.errors import RecipeError
from mlx_prune.pruning.method import Share, Structure
from mlx_prune.pruning.methods.width import REPAIR
from mlx_prune.registry import Look, Modifier, option

if TYPE_CHECKING:
    import mlx.core as mx
    import numpy as np

    from mlx_prune.pruning.structure.shallower import BlockChange
    from mlx_prune.pruning.structure.shrinking import Shrinking, Written
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


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

    def recorded(self, recipe: StructuredRecipe) -> dict[str, Any]:
        """What blocks are scored by."""
        scores = "angular distance" if recipe.contiguous else "block influence"
        return {"units": "blocks", "scores": scores, "multiple": None}

    def check(self, recipe: StructuredRecipe) -> None:
        """Statistics are of the dense model."""
        if recipe.statistics == "sequential":
            raise RecipeError(
                "Depth scores all blocks on the dense model, so sequential statistics would be ignored; "
                "leave them out."
            )

    def write(self, job: Shrinking) -> Written:
        """Measure the blocks, choose, and write the others."""
        from mlx_prune.pruning.structure.shallower import write

        return write(job, cosine_sum, partial(choose, contiguous=job.recipe.contiguous))


def choose(change: BlockChange, count: int, *, contiguous: bool) -> tuple[list[int], list[float]]:
    """The blocks to remove.

    Args:
        change: What the blocks do.
        count: How many go.
        contiguous: As one run, the one whose input and output are closest by angle; else those of least
            influence, of equal ones the first.

    Returns:
        Their indices, ascending; and the score of every block, or of every run by its first block.
    """
    import numpy as np

    if contiguous:
        distances = angular_distances(change.last_tokens, count)
        first = int(np.argmin(distances))
        return list(range(first, first + count)), distances.tolist()
    order = np.argsort(change.influence, kind="stable")
    return sorted(int(index) for index in order[:count]), change.influence.tolist()


def cosine_sum(before: mx.array, after: mx.array) -> mx.array:
    """Sum over tokens of the cosine similarity of two sets of hidden states.

    Args:
        before: [..., width].
        after: [..., width].

    Returns:
        A float32 scalar.
    """
    import mlx.core as mx

    a, b = before.astype(mx.float32), after.astype(mx.float32)
    norms = mx.linalg.norm(a, axis=-1) * mx.linalg.norm(b, axis=-1)
    # A state of length zero has no direction; counted as changed altogether.
    return mx.where(norms > 0, (a * b).sum(axis=-1) / mx.maximum(norms, 1e-30), 0.0).sum()


def angular_distances(
    states: np.ndarray[Any, np.dtype[np.float32]], run: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Angles between the hidden states that enter and leave every run of blocks (Gromov et al. 2024, eq. 6).

    Args:
        states: [blocks + 1, samples, width] states of the last token of each sequence, before the first
            block, after the first block, and so on.
        run: Blocks in a run.

    Returns:
        [blocks + 1 - run] mean of arccos(cosine similarity) / pi, by the first block of the run.
    """
    import numpy as np

    x = states.astype(np.float64)
    unit = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-300)
    cosines = (unit[:-run] * unit[run:]).sum(axis=-1)
    return np.asarray(np.arccos(np.clip(cosines, -1.0, 1.0)).mean(axis=1) / np.pi)


METHOD = Depth()
