"""The command that makes a checkpoint again, from the recipe that ran; recorded with the checkpoint."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune.activations.calibration import Calibration
from mlx_prune.cards.base import shown_name
from mlx_prune.outside_names import plain
from mlx_prune.registry import Option, methods, options_of

if TYPE_CHECKING:
    from mlx_prune.pruning.recipe import Recipe
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


def command_of(recipe: Recipe | StructuredRecipe, model: str, text: Mapping[str, Any] | None) -> str:
    """Every option of a recipe that is away from its default, as given to ``mlxprune prune``.

    Args:
        recipe: What was done.
        model: What the user called the model; of a path, only the name is told.
        text: What it was calibrated on, as recorded.
    """
    method = methods()[recipe.method]
    given = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    if given.get("pattern") is not None:
        given["sparsity"] = None  # follows from it
    if "statistics" not in method.settings:
        given["statistics"] = None
    if text is not None:
        given |= {**text, "source": Path(str(text["source"])).name}
    found = [
        (said.order, _argument(name, given[field.name], said))
        for name, (field, said) in (options_of(type(recipe)) | options_of(Calibration)).items()
        if given.get(field.name) not in (None, field.default)
    ]
    return " ".join(
        [bare_command(model, method.name), *(word for _, word in sorted(found, key=itemgetter(0)))]
    )


def bare_command(model: str, method: str) -> str:
    """The command without options; OUT stands for the folder."""
    return f"mlxprune prune {shlex.quote(plain(shown_name(model)))} -o OUT -m {method}"


def _argument(name: str, value: Any, said: Option) -> str:
    if said.metavar == "PERCENT":
        return f"-s {100 * value:g}"
    flag = f"--{name.replace('_', '-')}"
    if said.multiple:
        texts = [one if isinstance(one, str) else f"{one[0]}={100 * one[1]:g}" for one in value]
        return " ".join(f"{flag} {shlex.quote(plain(text))}" for text in texts)
    return flag if value is True else f"{flag} {shlex.quote(plain(str(value)))}"
