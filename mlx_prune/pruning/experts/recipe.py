"""How many experts go, and by what: the recipe, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_prune.errors import RecipeError
from mlx_prune.pruning.structured_recipe import StructuredRecipe
from mlx_prune.registry import option

SCORES = ("reap", "ean", "frequency", "weight-norm", "random")
UNMEASURED = ("weight-norm", "random")


@dataclass(frozen=True)
class ExpertsRecipe(StructuredRecipe):
    """How experts are removed.

    Attributes:
        score: What makes an expert worth keeping: "reap" (mean over its tokens of gate weight times output
            norm; Lasby et al. 2025, arXiv 2510.13999), "ean" (sum of its output norms; Jaiswal et al. 2025,
            arXiv 2504.05586), "frequency" (how many tokens it gets), "weight-norm" (length of its weights,
            without any text), or "random", the control.
        unguarded: Super experts (Su et al. 2025, arXiv 2507.23279) may go like others; else they stay,
            whatever their score. Only what runs a text sees them.
    """

    score: str = option("reap", choices=SCORES, help="{methods}: what makes an expert worth keeping.")
    unguarded: bool = option(False, help="{methods}: let super experts go, whose loss breaks models.")

    def _fill_in_measurement(self) -> None:
        seed = self.seed
        if self.score == "random":
            self._set("seed", None)
        super()._fill_in_measurement()
        if self.score == "random":
            if seed is not None and seed < 0:
                raise RecipeError(f"The seed must not be negative, not {seed}.")
            self._set("seed", seed or 0)
