"""Experts: as many leave every mixture, those that the router and their outputs make least of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, cast

from mlx_prune.errors import RecipeError
from mlx_prune.pruning.experts.recipe import SCORES, UNMEASURED, ExpertsRecipe
from mlx_prune.pruning.method import Structure
from mlx_prune.registry import Look, Modifier

if TYPE_CHECKING:
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


def _scored(name: str, words: str) -> Modifier:
    return Modifier(name, "score", name, words)


class Experts(Structure):
    """Whole experts of a mixture go; each token meets as many of the others as before."""

    name, removes, refusal = "experts", "whole experts", "Experts removes whole experts of a mixture"
    own = ("score", "unguarded")
    unmeasured = "Experts by weight-norm or at random"
    modifiers = (
        _scored("ean", "they are scored by the sum of their outputs' norms (Jaiswal et al., 2025)"),
        _scored("frequency", "they are scored by how many tokens they get"),
        _scored("weight-norm", "they are scored by the length of their weights, without any text"),
        _scored("random", "they are drawn at random"),
        Modifier("unguarded", "unguarded", True, "super experts were not kept for their own sake"),
    )
    words = (
        "experts of the same number leave every mixture, with their rows of the router; unless said "
        "otherwise those of smallest gate weight times output norm, on average over their tokens (Lasby et "
        "al., 2025)"
    )
    recipe = ExpertsRecipe
    look = Look(
        "brown",
        "h",
        "-",
        {
            ("ean",): "left",
            ("frequency",): "top",
            ("weight-norm",): "right",
            ("random",): "none",
            ("unguarded",): "bottom",
        },
    )

    @property
    def settings(self) -> frozenset[str]:
        """Its statistics are always of the dense model."""
        return frozenset({"seed", "calibration"})

    def settings_with(self, modifiers: Collection[str]) -> frozenset[str]:
        """Without a text, there is none to name; only chance has a seed then."""
        if "random" in modifiers:
            return frozenset({"seed"})
        return frozenset() if "weight-norm" in modifiers else self.settings

    def measures(self, recipe: StructuredRecipe) -> bool:
        """By weight or at random, it does not."""
        return cast(ExpertsRecipe, recipe).score not in UNMEASURED

    def recorded(self, recipe: StructuredRecipe) -> dict[str, Any]:
        """Its own options."""
        return {"units": "experts", "scores": cast(ExpertsRecipe, recipe).score, **super().recorded(recipe)}

    def rows(self, removed: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Super experts, and why they are still there."""
        experts = removed["experts"]
        guarded = [(block, expert) for block, found in experts["guarded"].items() for expert in found]
        if not guarded:
            return []
        places = ", ".join(f"{expert} of block {block}" for block, expert in guarded)
        return [
            (
                "Super experts kept",
                f"{places}: their outputs reach beyond {experts['guard_limit']:.3g} and make the massive "
                f"activations of their blocks; {experts['saved']} would have gone by score (--unguarded)",
            )
        ]

    def remarks(self, removed: Mapping[str, Any]) -> list[str]:
        """Experts that the text did not reach, and tensors that mlx-lm does not read."""
        experts = removed["experts"]
        found = []
        if experts["unseen"]:
            total = experts["before"] * len(experts["blocks"])
            found.append(
                f"No token of the calibration text was routed to {experts['unseen']} of {total} experts, "
                "which count as worth nothing; a longer text tells more."
            )
        if experts["left_out"]:
            found.append(
                f"{experts['left_out']} tensors of blocks that predict further tokens were left out: mlx-lm "
                "does not read them, and their experts have no scores."
            )
        return found

    def check(self, recipe: StructuredRecipe) -> None:
        """A guard needs a text; statistics are of the dense model."""
        asked = cast(ExpertsRecipe, recipe)
        if asked.score not in SCORES:
            raise RecipeError(f"Unknown score {asked.score!r}; choose one of {', '.join(SCORES)}.")
        if asked.unguarded and asked.score in UNMEASURED:
            raise RecipeError(
                f"Super experts show on a text alone, so nothing is guarded with score {asked.score}; leave "
                "unguarded out."
            )
        if recipe.statistics == "sequential":
            raise RecipeError(
                "Experts are scored on the dense model, so sequential statistics would be ignored; leave "
                "them out."
            )

    def pruner(self) -> Callable[..., Any]:
        """Files are cut, quantized ones, too."""
        from mlx_prune.pruning.experts.prune import prune_experts

        return prune_experts


METHOD = Experts()
