"""What structure to remove: the recipe, checked when it is made, and the exact counts it implies."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.recipe import STATISTICS

STRUCTURED_METHODS = ("width", "depth")
UNITS = ("mlp", "heads", "both")
SCORES = ("wanda", "magnitude")

# Kept neurons are a multiple of what the matrix kernels tile by, smaller where that would cut too coarsely.
_MULTIPLES = ((1024, 64), (256, 32), (0, 8))


@dataclass(frozen=True)
class StructuredRecipe:
    """How a model is made smaller.

    Attributes:
        method: "width" (the same number of MLP neurons, or of key-value groups with their query heads, from
            every block) or "depth" (whole blocks).
        sparsity: Fraction of the neurons, groups or blocks to remove, in (0, 1).
        units: What width removes: "mlp" (neurons), "heads" (key-value groups) or "both".
        scores: What width keeps: the units with the largest "wanda" (sum over the outputs of the next
            projection of ``|w|`` times the root mean square of the activation; after Sun et al. 2024,
            arXiv 2306.11695) or "magnitude" (sum of ``|w|`` over all weights and biases that go with the
            unit). Depth always scores by what a block changes: block influence, one minus the mean cosine
            similarity of its input and output (Men et al. 2024, arXiv 2403.03853).
        contiguous: Depth removes one run of blocks, the one whose input and output are closest by angle
            (Gromov et al. 2024, arXiv 2403.17887).
        repair: Correct weights by least squares on the calibration activations, without training and
            without a bias: after width the projection that lost inputs, after depth the last projection of
            the block before each gap.
        multiple: Kept neurons are rounded to a multiple of this; None is 64 for 1,024 neurons and more, 32
            for 256 and more, else 8.
        statistics: "sequential" measures each block on the outputs of those already narrowed, "dense" on the
            dense network. Depth is always "dense". None where nothing is measured.
        seed: Of the choice of calibration sequences; None where nothing is measured.
        calibration: The text; None where nothing is measured.

    Arguments left at None take their defaults (the multiple by size, statistics "sequential", seed 0, a
    :class:`Calibration` without a name); one that the method would ignore is refused.

    Raises:
        RecipeError: An argument is out of range, conflicts with another, or would be ignored.
    """

    method: str
    sparsity: float
    units: str = "mlp"
    scores: str = "wanda"
    contiguous: bool = False
    repair: bool = False
    multiple: int | None = None
    statistics: str | None = None
    seed: int | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        """Check every argument and fill in the defaults."""
        for name, known, value in (
            ("method", STRUCTURED_METHODS, self.method),
            ("units", UNITS, self.units),
            ("scores", SCORES, self.scores),
        ):
            if value not in known:
                raise RecipeError(f"Unknown {name} {value!r}; choose one of {', '.join(known)}.")
        if not 0 < self.sparsity < 1:
            raise RecipeError(
                f"The share to remove is a fraction above 0 and below 1, not {self.sparsity:g}."
            )
        if self.method == "depth":
            self._check_depth()
        else:
            self._check_width()
        self._fill_in_measurement()

    @property
    def label(self) -> str:
        """The method and what changes it: "width", "width+heads+repair", "depth+contiguous"."""
        parts = [self.method]
        if self.units != "mlp":
            parts.append(self.units)
        if self.contiguous:
            parts.append("contiguous")
        if self.repair:
            parts.append("repair")
        return "+".join(parts)

    @property
    def measures(self) -> bool:
        """Whether it runs the model on calibration text."""
        return self.method == "depth" or self.scores == "wanda" or self.repair

    @property
    def cuts_neurons(self) -> bool:
        """Whether MLP neurons are removed."""
        return self.method == "width" and self.units != "heads"

    @property
    def cuts_heads(self) -> bool:
        """Whether key-value groups are removed."""
        return self.method == "width" and self.units != "mlp"

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
        return groups - self._removed(groups, "key-value groups in a block")

    def removed_blocks(self, blocks: int) -> int:
        """How many blocks go.

        Raises:
            RecipeError: Rounding would remove none of them.
        """
        return self._removed(blocks, "blocks")

    def _removed(self, count: int, what: str) -> int:
        removed = min(round(count * self.sparsity), count - 1)
        if removed == 0:
            raise RecipeError(
                f"{100 * self.sparsity:g} % of {count} {what} is none to remove; remove more, or another way."
            )
        return removed

    def _check_depth(self) -> None:
        ignored = {
            "units": self.units != "mlp",
            "scores": self.scores != "wanda",
            "multiple": self.multiple is not None,
        }
        for name, given in ignored.items():
            if given:
                raise RecipeError(
                    f"Depth removes whole blocks by what they change, so {name} would be ignored; leave it "
                    "out."
                )
        if self.statistics == "sequential":
            raise RecipeError(
                "Depth scores all blocks on the dense model, so sequential statistics would be ignored; "
                "leave them out."
            )

    def _check_width(self) -> None:
        if self.contiguous:
            raise RecipeError("Width removes no blocks, so contiguous would be ignored; leave it out.")
        if self.multiple is not None and not self.cuts_neurons:
            raise RecipeError(
                "The multiple is of kept MLP neurons, and units heads keeps them all; leave it out."
            )
        if self.multiple is not None and self.multiple < 1:
            raise RecipeError(f"The multiple of kept neurons is at least 1, not {self.multiple}.")

    def _fill_in_measurement(self) -> None:
        if not self.measures:
            for name in ("statistics", "seed", "calibration"):
                if getattr(self, name) is not None:
                    raise RecipeError(
                        "Width by magnitude without repair looks at no activations, so "
                        f"{name} would be ignored; leave it out."
                    )
            return
        if self.statistics is None:
            self._set("statistics", "dense" if self.method == "depth" else "sequential")
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
