"""What is pruned from folder to folder: the model, its calibration text, and what the result is known by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mlx_prune.activations.text import CalibrationTokens, calibration_tokens
from mlx_prune.checkpoint.open import Checkpoint, OnDisk
from mlx_prune.errors import RecipeError
from mlx_prune.json_files import fingerprint
from mlx_prune.pruning.recipe import recipe_for_model

if TYPE_CHECKING:
    from mlx_prune.pruning.recipe import Recipe
    from mlx_prune.pruning.structured_recipe import StructuredRecipe

R = TypeVar("R", bound="Recipe | StructuredRecipe")


@dataclass(frozen=True)
class Source(Generic[R]):
    """A model and what is to be done to it.

    Attributes:
        model: Its weights on disk.
        recipe: With a named text, if it calibrates.
        data: The calibration sequences; None where nothing is measured.
    """

    model: OnDisk
    recipe: R
    data: CalibrationTokens | None

    @classmethod
    def open(
        cls, model: Checkpoint | str | Path, recipe: R, *, dtype: str, trust_remote_code: bool, what: str
    ) -> Source[R]:
        """Open a model for a recipe.

        Args:
            model: A folder, a Hub id, or "demo".
            recipe: What to do.
            dtype: Compute type, refused where nothing is computed.
            trust_remote_code: Run Python files of the checkpoint.
            what: The recipe at the beginning of a sentence, if it computes nothing.

        Raises:
            RecipeError: The type would be ignored.
            CheckpointError: The model cannot be read.
            DataError: The calibration text is not named, cannot be read or is too short.
        """
        if recipe.calibration is None and dtype != "auto":
            raise RecipeError(
                f"{what} computes nothing with the model, so dtype {dtype} would be ignored; leave it out."
            )
        recipe = recipe_for_model(recipe, model)
        checkpoint = Checkpoint.open(model, trust_remote_code=trust_remote_code)
        opened = checkpoint.on_disk(dtype)
        data = None
        if recipe.calibration is not None:
            tokenizer = checkpoint.tokenizer().tokenizer
            data = calibration_tokens(recipe.calibration, tokenizer, checkpoint.config, recipe.seed or 0)
        return cls(opened, recipe, data)

    def fingerprint(self, left_out: Collection[str] = (), **more: Any) -> str:
        """What a prune follows from: recipe, source, calibration tokens, and compute type where it matters.

        Args:
            left_out: Fields of the recipe that say nothing.
            more: What else it follows from.
        """
        content: dict[str, Any] = {
            "recipe": {k: v for k, v in asdict(self.recipe).items() if k not in ("calibration", *left_out)},
            "source": self.model.checkpoint.quick_hash,
            **more,
        }
        if self.data is not None:
            content |= {"tokens": self.data.tokens_sha256, "dtype": self.model.compute}
        return fingerprint(content)
