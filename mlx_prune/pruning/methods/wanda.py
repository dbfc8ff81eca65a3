"""Wanda: per output row, the smallest ``|w| * rms(x)`` (Sun et al. 2024, arXiv 2306.11695, equation 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from mlx_prune.pruning.fields import ROW, SQUARE_SUMS
from mlx_prune.pruning.method import Mask, Matrix
from mlx_prune.pruning.methods.owl import OWL
from mlx_prune.registry import Look, Scope

if TYPE_CHECKING:
    import mlx.core as mx

    from mlx_prune.activations.statistics import SquareSums


class Wanda(Mask):
    """Of the weights of one output, those of smallest ``|w| * sqrt(mean of squared inputs)``."""

    name, title, per, statistic = "wanda", "Wanda", ROW, SQUARE_SUMS
    scopes: ClassVar[Mapping[str, Scope]] = {
        **Mask.scopes,
        "paper": Scope(
            "linear layers inside the transformer blocks but o_proj and down_proj, as in the study's Wanda",
            ("o_proj", "down_proj"),
            "Scope paper describes the study's Wanda; {method} pruned every linear there, so use scope "
            "blocks.",
        ),
    }
    modifiers = (OWL,)
    words = (
        "of the weights of one output, those of smallest |w| · ‖x‖ are zeroed, x being the inputs that "
        "calibration text brings to that weight (Sun et al., ICLR 2024)"
    )
    look = Look("vermilion", "D", "-", {("owl",): "left"})

    def prune(self, weight: mx.array, matrix: Matrix, inputs: SquareSums) -> mx.array:
        """By a kernel where there is one."""
        from mlx_prune.pruning.selection import prune_weight

        scale = inputs.root_mean_square()
        return prune_weight(weight, matrix.recipe, matrix.name, scale, in_place=matrix.in_place)


METHOD = Wanda()
