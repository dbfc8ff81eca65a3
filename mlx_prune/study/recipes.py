"""The recipe behind one configuration of a study."""

from __future__ import annotations

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE
from mlx_prune.pruning.counts import fraction_from_percent
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structured_recipe import StructuredRecipe
from mlx_prune.registry import methods
from mlx_prune.study.config import StudyConfig


def recipe_of(config: StudyConfig, name: Configuration) -> Recipe | StructuredRecipe | None:
    """How the model of a configuration is pruned, before it is quantized; None if it is not, or was before.

    Raises:
        RecipeError: The method takes no such sparsity or pattern.
    """
    if name.is_named:
        return None
    label, grid = name.label, config.grid
    if label.base == DENSE:
        return None
    method = methods()[label.base]
    given = {
        "scope": grid.scope,
        "statistics": grid.statistics,
        "seed": grid.seed,
        "calibration": config.calibration_of(label),
    }
    taken = method.settings_with(label.modifiers)
    asked = {setting: value for setting, value in given.items() if setting in taken}
    asked |= {word.field: word.value for word in method.modifiers if word.name in label.modifiers}
    if config.layers:
        asked["layers"] = tuple((glob, fraction_from_percent(own)) for glob, own in config.layers.items())
    if name.pattern:
        asked["pattern"] = name.pattern
    else:
        asked["sparsity"] = fraction_from_percent(name.sparsity)
    recipe: Recipe | StructuredRecipe = method.recipe(method=label.base, **asked)
    return recipe
