"""What the two kinds of pruning methods have in common; a method's file derives from one of these."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlx_prune import words
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.fields import GRAMS, MEASURED, ROW, sparsity_option
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.registry import MASK, STRUCTURE, Method

if TYPE_CHECKING:
    import mlx.core as mx

    from mlx_prune.pruning.structure.shrinking import Shrinking, Written
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


@dataclass(frozen=True)
class Matrix:
    """One weight matrix that is about to be pruned.

    Attributes:
        name: Its path in the model; it seeds draws, and errors carry it.
        recipe: How many weights go; an allocation has been worked into its sparsity.
        stored: The type that the checkpoint holds it in.
        in_place: The memory of the weight may be written over.
    """

    name: str
    recipe: Recipe
    stored: mx.Dtype
    in_place: bool = False


class Mask(Method):
    """A method that sets single weights to zero, matrix by matrix.

    Attributes:
        per: Among which weights the smallest are sought where the recipe has no N:M pattern: those of a ROW
            (the inputs of one output) or of the whole MATRIX; CHANCE where each is drawn on its own.
        statistic: What is measured of each matrix's inputs on the calibration text: SQUARE_SUMS
            (:class:`~mlx_prune.activations.statistics.SquareSums`, kept between prunes), GRAMS
            (:class:`~mlx_prune.activations.statistics.GramSums`), or None.
        draws: It draws at random, so it takes a seed.
        changes_weights: Weights that stay change, too.
        constants: Numbers of the method's own, recorded beside a result.
    """

    kind = MASK
    per: ClassVar[str] = ROW
    statistic: ClassVar[str | None] = None
    draws: ClassVar[bool] = False
    changes_weights: ClassVar[bool] = False
    constants: ClassVar[Mapping[str, Any]] = {}

    @property
    def recipe(self) -> type[Recipe]:
        """Its recipe; a method with options of its own gives a subclass with more fields."""
        return Recipe

    @property
    def settings(self) -> frozenset[str]:
        """Follows from what it measures and draws."""
        found = MEASURED if self.statistic is not None else frozenset({"seed"} if self.draws else ())
        return found | {"scope"} if len(self.scopes) > 1 else found

    def measure(self) -> Callable[[mx.array], Any]:
        """The function that reduces the inputs of a matrix in one batch, [..., in], to the statistic.

        What it returns has ``sums`` (an array), ``count`` (tokens) and ``+``.
        """
        if self.statistic == GRAMS:
            from mlx_prune.activations.statistics import gram_sums

            return gram_sums
        from mlx_prune.activations.statistics import square_sums

        return square_sums

    def in_block(self, inputs: Mapping[str, Any]) -> Callable[[mx.array, Matrix], mx.array]:
        """What prunes the matrices of one block, one after the other and each once.

        Args:
            inputs: The statistics by matrix name; empty without any.
        """
        return lambda weight, matrix: self.prune(weight, matrix, inputs.get(matrix.name))

    def prune(self, weight: mx.array, matrix: Matrix, inputs: Any) -> mx.array:
        """Prune one matrix; as it stands, zero the weights of smallest :meth:`scores`.

        Args:
            weight: [out, in]; float32, bfloat16 or float16, as stored.
            matrix: What it is, and how many weights go.
            inputs: Its statistic, or None.

        Returns:
            The pruned matrix in the same type.
        """
        from mlx_prune.pruning.selection import zero_smallest

        return zero_smallest(weight, self.scores(weight, inputs, matrix.recipe), matrix.recipe, matrix.name)

    def scores(self, weight: mx.array, inputs: Any, recipe: Any) -> mx.array:
        """[out, in] float32: what each weight is worth; the smallest go, of equal ones the first."""
        raise NotImplementedError


@dataclass(frozen=True)
class Share:
    """What every recipe of this kind begins with; a method's own options derive from it.

    Attributes:
        method: Its name.
        sparsity: Fraction of the neurons, groups or blocks to remove, in (0, 1).
    """

    method: str
    sparsity: float = sparsity_option()

    def removed(self, count: int, what: str) -> int:
        """How many of so many go; one stays.

        Raises:
            RecipeError: Rounding would remove none.
        """
        removed = min(round(count * self.sparsity), count - 1)
        if removed == 0:
            raise RecipeError(
                f"{words.percent(self.sparsity, None)} of {count} {what} is none to remove; remove more, or "
                "another way."
            )
        return removed


class Structure(Method):
    """A method that removes neurons, heads or blocks.

    Attributes:
        removes: What, as the end of a sentence: "neurons or heads".
        refusal: The beginning of a sentence that ends in "so units would be ignored".
        unmeasured: Where it may do without calibration text: what does, as the beginning of a sentence.
    """

    kind = STRUCTURE
    removes: ClassVar[str]
    refusal: ClassVar[str]
    unmeasured: ClassVar[str] = ""

    @property
    def recipe(self) -> type[StructuredRecipe]:
        """Its recipe; a method with options of its own gives a subclass with more fields."""
        from mlx_prune.pruning.structured_recipe import StructuredRecipe

        return StructuredRecipe

    @property
    def settings(self) -> frozenset[str]:
        """All but the scope, if nothing else is said."""
        return MEASURED

    @property
    def does(self) -> str:
        """Such as "width removes neurons or heads"."""
        return f"{self.name} removes {self.removes}"

    def measures(self, recipe: StructuredRecipe) -> bool:  # noqa: ARG002
        """Whether it runs the model on calibration text."""
        return True

    def recorded(self, recipe: StructuredRecipe) -> dict[str, Any]:
        """What ``pruning_meta.json`` says of its own options; of a repair it tells the effect."""
        return {name: getattr(recipe, name) for name in self.own if name != "repair"}

    def rows(self, removed: Mapping[str, Any]) -> list[tuple[str, str]]:  # noqa: ARG002
        """What else a person should read of what was removed, for a table of two columns."""
        return []

    def remarks(self, removed: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        """Sentences a user should see about what was removed."""
        return []

    def pruner(self) -> Callable[..., Any] | None:
        """What prunes from folder to folder in a way of its own, called as ``prune_structured`` is.

        As it stands there is none: ``prune_structured`` does it, and :meth:`write` is asked.
        """
        return None

    def write(self, job: Shrinking) -> Written:
        """Choose what goes, and write the weights of what stays.

        Args:
            job: The model, the recipe, the calibration text, and the folder.

        Raises:
            RecipeError: The model's configuration cannot say what would be left.
            CheckpointError: The disk is too small; activations are not finite.
        """
        raise NotImplementedError

    @abstractmethod
    def check(self, recipe: StructuredRecipe) -> None:
        """Refuse a recipe that makes no sense.

        Raises:
            RecipeError: As said.
        """
