"""What structure to remove: the recipe, checked when it is made, and the exact counts it implies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.fields import STATISTICS, seed_option, statistics_option
from mlx_prune.pruning.method import Structure
from mlx_prune.pruning.methods.depth import DepthOptions
from mlx_prune.pruning.methods.width import WidthOptions
from mlx_prune.registry import STRUCTURE, methods, option, options_of


@dataclass(frozen=True)
class StructuredRecipe(DepthOptions, WidthOptions):
    """How a model is made smaller; options of one method are keywords (:class:`.WidthOptions`, for one).

    Attributes:
        method: "width" (the same number of MLP neurons, or of key-value groups with their query heads, from
            every block), "depth" (whole blocks) or another that is registered.
        repair: Correct weights by least squares on the calibration activations, without training and
            without a bias: after width the projection that lost inputs, after depth the last projection of
            the block before each gap.
        statistics: "sequential" measures each block on the outputs of those already narrowed, "dense" on the
            dense network. Depth is always "dense". None where nothing is measured.
        seed: Of the choice of calibration sequences; None where nothing is measured.
        calibration: The text; None where nothing is measured.

    Arguments left at None take their defaults (the multiple by size, statistics "sequential", seed 0, a
    :class:`Calibration` without a name); one that the method would ignore is refused.

    Raises:
        RecipeError: An argument is out of range, conflicts with another, or would be ignored.
    """

    repair: bool = option(False, order=60, help="{methods}: make up for what is gone by least squares.")
    statistics: str | None = statistics_option()
    seed: int | None = seed_option()
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        known = methods(STRUCTURE)
        if self.method not in known:
            raise RecipeError(f"Unknown method {self.method!r}; choose one of {', '.join(known)}.")
        if not 0 < self.sparsity < 1:
            raise RecipeError(
                f"The share to remove is a fraction above 0 and below 1, not {self.sparsity:g}."
            )
        taken = self.structure.options
        for name, (field, _) in options_of(type(self)).items():
            if name not in taken and getattr(self, field.name) != field.default:
                raise RecipeError(f"{self.structure.refusal}, so {name} would be ignored; leave it out.")
        self.structure.check(self)
        self._fill_in_measurement()

    @property
    def label(self) -> str:
        """The method and what changes it: "width", "width+heads+repair", "depth+contiguous"."""
        return self.structure.label(self)

    @property
    def structure(self) -> Structure:
        """The method itself."""
        return cast(Structure, methods(STRUCTURE)[self.method])

    @property
    def measures(self) -> bool:
        """Whether it runs the model on calibration text."""
        return self.structure.measures(self)

    def _fill_in_measurement(self) -> None:
        if not self.measures:
            for name in ("statistics", "seed", "calibration"):
                if getattr(self, name) is not None:
                    raise RecipeError(
                        f"{self.structure.unmeasured} looks at no activations, so {name} would be "
                        "ignored; leave it out."
                    )
            return
        if self.statistics is None:
            self._set("statistics", "sequential" if "statistics" in self.structure.settings else "dense")
        if self.statistics not in STATISTICS:
            raise RecipeError(
                f"Unknown statistics {self.statistics!r}; choose one of {', '.join(STATISTICS)}."
            )
        if self.calibration is None:
            self._set("calibration", Calibration())
        if self.seed is None:
            self._set("seed", 0)
        elif self.seed < 0:
            raise RecipeError(f"The seed must not be negative, not {self.seed}.")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
