"""What to prune: the recipe, checked when it is made."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from mlx_prune import words
from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.allocation import AllocationRule
from mlx_prune.pruning.counts import group_prune_count, parse_pattern, prune_count
from mlx_prune.pruning.fields import (
    SQUARE_SUMS,
    STATISTICS,
    seed_option,
    sparsity_option,
    statistics_option,
)
from mlx_prune.pruning.layers import own_sparsity
from mlx_prune.registry import MASK, methods, modifiers, option, scopes, with_modifier

if TYPE_CHECKING:
    from mlx_prune.checkpoint.matrices import PrunableLinear
    from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
    from mlx_prune.pruning.method import Mask
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


R = TypeVar("R", bound="Recipe | StructuredRecipe")


@dataclass(frozen=True)
class Recipe:
    """How a model is pruned.

    Attributes:
        method: "random" (each weight with probability ``sparsity``), "magnitude" (the smallest ``|w|`` of
            each matrix), "wanda" (per output row, the smallest ``|w| * sqrt(mean of squared inputs)``;
            Sun et al. 2024, arXiv 2306.11695, equation 1), "sparsegpt" (the weights whose loss the others
            make up for best, and these changed accordingly; Frantar & Alistarh 2023, arXiv 2301.00774), or
            another that is registered (docs/methods.md).
        sparsity: Fraction of the weights of a matrix to set to zero, in [0, 1). Implied by a pattern.
        pattern: "N:M" keeps N of every M consecutive input weights ("2:4" is NVIDIA's); None is unstructured.
            A last, incomplete group of r weights loses floor(r * (M - N) / M).
        scope: "blocks" prunes every linear in the blocks; "paper" leaves out o_proj and down_proj, as the
            study's Wanda did.
        statistics: "sequential" measures each block on the outputs of the blocks already pruned (published
            Wanda and SparseGPT), "dense" on the dense network (the study's). None for methods without.
        seed: Of random masks, and of the choice of calibration sequences. None for magnitude.
        calibration: Text for Wanda and SparseGPT; None for the others.
        allocation: "owl" gives each block a sparsity of its own by its outliers (Yin et al. 2024, arXiv
            2310.05175; Wanda and SparseGPT, unstructured), ``sparsity`` on average; None gives all the same.
        keep: Patterns of names of matrices or blocks that are left alone ("model.layers.0", "*.o_proj").
        layers: Pairs of such a pattern and a fraction: the sparsity of their own of what it names. The last
            that matches decides, ``keep`` before all.

    Arguments left at None take their defaults (scope "blocks", statistics "sequential", seed 0, a
    :class:`Calibration` without a name); one that the method would ignore is refused.

    Raises:
        RecipeError: An argument is out of range, conflicts with another, or would be ignored.
    """

    method: str
    sparsity: float | None = sparsity_option(default=None)
    pattern: str | None = option(
        None, metavar="N:M", order=10, help="Keep N of every M consecutive weights, such as 2:4."
    )
    scope: str = option(
        "blocks",
        choices=scopes,
        order=11,
        help="All linears in the blocks, or (Wanda) without o_proj and down_proj as in the study.",
    )
    statistics: str | None = statistics_option()
    seed: int | None = seed_option()
    calibration: Calibration | None = None
    allocation: str | None = option(
        None,
        nothing="uniform",
        order=12,
        help="{methods}: one sparsity for all blocks, or more where there are fewer outliers.",
    )
    keep: tuple[str, ...] = option(
        (),
        multiple=True,
        metavar="GLOB",
        order=13,
        help="Leave matrices or blocks of such names alone, '*.o_proj' or 'model.layers.0'; may be repeated.",
    )
    layers: tuple[tuple[str, float], ...] = option(
        (),
        multiple=True,
        name="layer",
        metavar="GLOB=PERCENT",
        order=14,
        help="Give matrices or blocks of such names a sparsity of their own; the last that matches counts.",
    )
    groups: tuple[int, int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        known = methods(MASK)
        if self.method not in known:
            raise RecipeError(f"Unknown method {self.method!r}; choose one of {', '.join(known)}.")
        if self.pattern is not None:
            self._set("groups", parse_pattern(self.pattern))
        self._set("sparsity", self._resolved_sparsity())
        self._check_scope()
        self._check_calibrated_only()
        self._check_allocation()
        self._check_layers()
        if "seed" not in self.mask.settings:
            if self.seed is not None:
                raise RecipeError(
                    f"{self.method.capitalize()} pruning draws nothing, so a seed would be ignored; leave it "
                    "out."
                )
        elif self.seed is None:
            self._set("seed", 0)
        elif self.seed < 0:
            raise RecipeError(f"The seed must not be negative, not {self.seed}.")

    @property
    def mask(self) -> Mask:
        """The method itself."""
        return cast("Mask", methods(MASK)[self.method])

    @property
    def label(self) -> str:
        """The method with its modifiers, as recorded beside a result: "wanda+owl"."""
        return self.mask.label(self)

    @property
    def calibrated(self) -> bool:
        """Whether the recipe looks at activations."""
        return self.mask.statistic is not None

    @property
    def masks_from_dense(self) -> bool:
        """Whether the masks follow from sums of squares of the dense network, good for every sparsity."""
        return self.mask.statistic == SQUARE_SUMS and self.statistics == "dense"

    @property
    def allocation_rule(self) -> AllocationRule | None:
        """What gives each block a sparsity of its own; None for one sparsity in all."""
        rules = (rule for rule in self.mask.modifiers if isinstance(rule, AllocationRule))
        return next((rule for rule in rules if rule.set_in(self)), None)

    @property
    def target_sparsity(self) -> float:
        """The fraction of zeros asked for in each pruned matrix."""
        assert self.sparsity is not None
        return self.sparsity

    def prunes(self, projection: str) -> bool:
        """Whether the recipe touches a projection ("self_attn.q_proj")."""
        return projection.rsplit(".", 1)[-1] not in self.left_out

    @property
    def rules(self) -> tuple[tuple[str, float], ...]:
        """Patterns of names with the sparsity that they ask for; the last that matches decides."""
        return (*self.layers, *((glob, 0.0) for glob in self.keep))

    def touches(self, linear: PrunableLinear) -> bool:
        """Whether the recipe takes weights from a matrix: what its name asks goes before the scope."""
        own = own_sparsity(self.rules, linear.name)
        return self.prunes(linear.projection) if own is None else own > 0

    def of_matrix(self, name: str) -> Recipe:
        """The recipe of one matrix, its own sparsity worked in."""
        own = own_sparsity(self.rules, name)
        return self if own is None else dataclasses.replace(self, sparsity=own, keep=(), layers=())

    @property
    def left_out(self) -> tuple[str, ...]:
        """Last names of projections that its scope leaves dense."""
        return self.mask.scopes[self.scope].left_out

    def _resolved_sparsity(self) -> float:
        if self.groups is not None:
            keep, size = self.groups
            implied = (size - keep) / size
            if self.sparsity is not None and not math.isclose(self.sparsity, implied, abs_tol=1e-9):
                raise RecipeError(
                    f"Pattern {self.pattern} means a sparsity of {words.percent(implied, None)}, "
                    f"not {words.percent(self.sparsity, None)}; give one of the two."
                )
            return implied
        if self.sparsity is None:
            raise RecipeError("Give a sparsity or an N:M pattern.")
        if not 0 <= self.sparsity < 1:
            raise RecipeError(f"Sparsity is a fraction of at least 0 and below 1, not {self.sparsity:g}.")
        return self.sparsity

    def _check_scope(self) -> None:
        known = scopes()
        if self.scope not in known:
            raise RecipeError(f"Unknown scope {self.scope!r}; choose one of {', '.join(known)}.")
        if self.scope not in self.mask.scopes:
            raise RecipeError(known[self.scope].refusal.format(method=self.method))

    def _check_calibrated_only(self) -> None:
        if self.calibrated:
            if self.statistics is None:
                self._set("statistics", "sequential")
            if self.calibration is None:
                self._set("calibration", Calibration())
            if self.statistics not in STATISTICS:
                raise RecipeError(
                    f"Unknown statistics {self.statistics!r}; choose one of {', '.join(STATISTICS)}."
                )
        elif self.statistics is not None or self.calibration is not None:
            raise RecipeError(
                f"{self.method.capitalize()} pruning looks at no activations, so calibration and statistics "
                "would be ignored; leave them out."
            )

    def _check_allocation(self) -> None:
        if self.allocation is None:
            return
        rules = allocations()
        if self.allocation not in rules:
            raise RecipeError(
                f"Unknown allocation {self.allocation!r}; choose {' or '.join(rules)}, or leave it out "
                "for the same sparsity in every block."
            )
        if self.allocation_rule is None:
            takers = with_modifier(rules[self.allocation].name)
            raise RecipeError(
                f"Allocation {self.allocation} follows from activations, and {self.method} pruning looks at "
                f"none; use {' or '.join(takers)}."
            )
        if self.groups is not None:
            raise RecipeError(
                f"Pattern {self.pattern} fixes the sparsity of every block, so allocation {self.allocation} "
                "would be ignored; leave one of the two out."
            )

    def _check_layers(self) -> None:
        for glob, sparsity in self.layers:
            if not 0 <= sparsity < 1:
                raise RecipeError(
                    f"The sparsity of {glob} is a fraction from 0 to below 1, not {sparsity:g}."
                )
            if self.groups is not None and sparsity > 0:
                raise RecipeError(
                    f"Pattern {self.pattern} fixes the sparsity of every matrix, so that of {glob} would be "
                    "ignored; such layers can only be left alone."
                )
        if self.rules and self.allocation is not None:
            raise RecipeError(
                f"Allocation {self.allocation} gives every block its sparsity, so that of single layers "
                "would be ignored; leave one of the two out."
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def allocations() -> dict[str, AllocationRule]:
    """The rules that spread a sparsity over the blocks, by their word in a recipe."""
    return {rule.value: rule for rule in modifiers().values() if isinstance(rule, AllocationRule)}


def row_prune_count(in_features: int, recipe: Recipe) -> int:
    """Weights that the recipe removes from each row, where it works on rows or has an N:M pattern."""
    if recipe.groups is None:
        return prune_count(in_features, recipe.target_sparsity)
    keep, size = recipe.groups
    whole, rest = divmod(in_features, size)
    return whole * group_prune_count(size, keep, size) + group_prune_count(rest, keep, size)


def recipe_for_model(recipe: R, model: Checkpoint | LoadedModel | str | Path) -> R:
    """The same recipe with a source of its calibration text, if it calibrates, as :func:`.for_model`."""
    from mlx_prune.activations.text import for_model
    from mlx_prune.checkpoint.open import Checkpoint

    if recipe.calibration is None:
        return recipe
    named = model.given if isinstance(model, Checkpoint) else model
    return dataclasses.replace(recipe, calibration=for_model(recipe.calibration, named))
