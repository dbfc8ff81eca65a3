"""Width: as many MLP neurons, or of key-value groups with their query heads, leave every block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlx_prune import words
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.method import Share, Structure
from mlx_prune.registry import Look, Modifier, option

if TYPE_CHECKING:
    import mlx.core as mx
    import numpy as np

    from mlx_prune.activations.statistics import GramSums, SquareSums
    from mlx_prune.pruning.structure.cuts import BlockCuts, Indices
    from mlx_prune.pruning.structure.shrinking import Shrinking, Written
    from mlx_prune.pruning.structured_recipe import StructuredRecipe

    Scores = np.ndarray[Any, np.dtype[np.float64]]

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
                f"{words.percent(self.sparsity, None)}; remove more or choose a smaller multiple."
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

    def write(self, job: Shrinking) -> Written:
        """Measure, choose and narrow block by block."""
        from mlx_prune.pruning.structure.narrower import write

        def choose(
            parameters: Mapping[str, mx.array], cut: BlockCuts, sums: GramSums | SquareSums | None, count: int
        ) -> Indices:
            if job.recipe.scores == "magnitude":
                return largest(magnitude_scores(parameters, cut), count)
            assert sums is not None
            consumer = f"{cut.consumer}.weight"
            owners = cut.cuts[consumer].owners
            return largest(
                wanda_scores(parameters[consumer], sums.root_mean_square(), owners, cut.count), count
            )

        return write(job, choose)


def wanda_scores(weight: mx.array, root_mean_square: mx.array, owners: Indices, count: int) -> Scores:
    """What each unit carries into the next projection: sum of ``|w| * rms(x)`` over outputs and its inputs.

    Args:
        weight: [outputs, inputs] of the projection that reads the units.
        root_mean_square: [inputs] of its inputs on the calibration text.
        owners: [inputs] unit of each input.
        count: Number of units.

    Returns:
        [count] scores.
    """
    import mlx.core as mx
    import numpy as np

    columns = mx.abs(weight.astype(mx.float32)).sum(axis=0) * root_mean_square
    sums = np.bincount(owners, weights=np.array(columns, dtype=np.float64), minlength=count)
    return np.asarray(sums, dtype=np.float64)


def magnitude_scores(parameters: Mapping[str, mx.array], units: BlockCuts) -> Scores:
    """The sum of the absolute values (L1 norm) of all weights and biases that go with each unit.

    Args:
        parameters: The block's parameters that are cut, by path in the model.
        units: Where the units lie in them.

    Returns:
        [units.count] scores.
    """
    import mlx.core as mx
    import numpy as np

    total = np.zeros(units.count)
    for name, cut in units.cuts.items():
        values = mx.abs(parameters[name].astype(mx.float32))
        others = [axis for axis in range(values.ndim) if axis != cut.axis]
        along = np.array(values.sum(axis=others) if others else values, dtype=np.float64)
        total += np.bincount(cut.owners, weights=along, minlength=units.count)
    return total


def largest(scores: Scores, count: int) -> Indices:
    """Indices of the largest scores, ascending; of equal ones the first."""
    import numpy as np

    return np.sort(np.argsort(-scores, kind="stable")[:count])


METHOD = Width()
