"""Width: as many MLP neurons, or of key-value groups with their query heads, leave every block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune.errors import RecipeError
from mlx_prune.pruning.methods.base import Share, Structure
from mlx_prune.registry import Look, Modifier, option

if TYPE_CHECKING:
    from mlx_prune.pruning.structure.recipe import StructuredRecipe

UNITS = ("mlp", "heads", "both")
SCORES = ("wanda", "magnitude")

REPAIR = Modifier(
    "repair",
    "repair",
    True,
    "projections next to what was removed are corrected by least squares on the calibration text; "
    "nothing was trained",
)
# Kept neurons are a multiple of what the matrix kernels tile by, smaller where that would cut too coarsely.
_MULTIPLES = ((1024, 64), (256, 32), (0, 8))


@dataclass(frozen=True, kw_only=True)
class WidthOptions(Share):
    """What width alone takes.

    Attributes:
        units: What goes: "mlp" (neurons), "heads" (key-value groups) or "both".
        scores: What stays: the units with the largest "wanda" (sum over the outputs of the next projection of
            ``|w|`` times the root mean square of the activation; after Sun et al. 2024, arXiv 2306.11695) or
            "magnitude" (sum of ``|w|`` over all weights and biases that go with the unit).
        multiple: Kept neurons are rounded to a multiple of this; None is 64 for 1,024 neurons and more, 32
            for 256 and more, else 8.
    """

    units: str = option(
        "mlp",
        choices=UNITS,
        help="{methods}: MLP neurons, key-value groups with their query heads, or both.",
    )
    scores: str = option(
        "wanda", choices=SCORES, help="{methods}: what makes a neuron or head worth keeping."
    )
    multiple: int | None = option(
        None, least=1, help="{methods}: keep a multiple of so many neurons. [default: by size]"
    )

    @property
    def cuts_neurons(self) -> bool:
        """Whether MLP neurons are removed."""
        return self.units != "heads"

    @property
    def cuts_heads(self) -> bool:
        """Whether key-value groups are removed."""
        return self.units != "mlp"

    def kept_neurons(self, neurons: int) -> int:
        """How many of a block's MLP neurons stay.

        Raises:
            RecipeError: Rounding to the multiple would keep all of them.
        """
        multiple = self.multiple or next(m for least, m in _MULTIPLES if neurons >= least)
        kept = multiple * max(1, round(neurons * (1 - self.sparsity) / multiple))
        if kept >= neurons:
            raise RecipeError(
                f"Of {neurons} neurons, rounded to a multiple of {multiple}, none would be removed at "
                f"{100 * self.sparsity:g} %; remove more or choose a smaller multiple."
            )
        return kept

    def kept_groups(self, groups: int) -> int:
        """How many of a block's key-value groups stay.

        Raises:
            RecipeError: Rounding would keep all of them.
        """
        return groups - self.removed(groups, "key-value groups in a block")


class Width(Structure):
    """Units that matter least go, as many from every block; the configuration says the smaller size."""

    name, removes, refusal = "width", "neurons or heads", "Width removes no blocks"
    own = ("units", "scores", "multiple", "repair")
    unmeasured = "Width by magnitude without repair"
    modifiers = (
        Modifier("heads", "units", "heads", "the units are key-value groups with their query heads"),
        Modifier(
            "both",
            "units",
            "both",
            "the units are MLP neurons, and key-value groups with their query heads",
        ),
        REPAIR,
    )
    words = (
        "units of the same number in every block are removed, those that matter least on calibration "
        "text or by their weights; the configuration says the smaller size"
    )
    look = Look(
        "amber",
        "P",
        "-",
        {
            ("repair",): "left",
            ("heads",): "top",
            ("both",): "bottom",
            ("heads", "repair"): "right",
            ("both", "repair"): "none",
        },
    )

    def measures(self, recipe: StructuredRecipe) -> bool:
        """By magnitude without repair, it does not."""
        return recipe.scores == "wanda" or recipe.repair

    def check(self, recipe: StructuredRecipe) -> None:
        """The multiple is of neurons."""
        for name, known in (("units", UNITS), ("scores", SCORES)):
            if getattr(recipe, name) not in known:
                raise RecipeError(
                    f"Unknown {name} {getattr(recipe, name)!r}; choose one of {', '.join(known)}."
                )
        if recipe.multiple is not None and recipe.units == "heads":
            raise RecipeError(
                "The multiple is of kept MLP neurons, and units heads keeps them all; leave it out."
            )
        if recipe.multiple is not None and recipe.multiple < 1:
            raise RecipeError(f"The multiple of kept neurons is at least 1, not {recipe.multiple}.")


METHOD = Width()
