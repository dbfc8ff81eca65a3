"""The recipe behind one configuration of a study."""

from __future__ import annotations

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE
from mlx_prune.pruning.recipe import CALIBRATED, Recipe, fraction_from_percent
from mlx_prune.pruning.structure.recipe import StructuredRecipe
from mlx_prune.study.config import StudyConfig


def recipe_of(config: StudyConfig, name: Configuration) -> Recipe | StructuredRecipe | None:
    """How the model of a configuration is pruned, before it is quantized; None if it is not.

    Raises:
        RecipeError: The method takes no such sparsity or pattern.
    """
    label, grid = name.label, config.grid
    if label.base == DENSE:
        return None
    if label.structured:
        units = next((unit for unit in ("heads", "both") if unit in label.modifiers), "mlp")
        return StructuredRecipe(
            method=label.base,
            sparsity=fraction_from_percent(name.sparsity),
            units=units,
            contiguous="contiguous" in label.modifiers,
            repair="repair" in label.modifiers,
            statistics=grid.statistics if label.base == "width" else None,
            seed=grid.seed,
            calibration=config.calibration,
        )
    calibrated = label.base in CALIBRATED
    return Recipe(
        method=label.base,
        sparsity=None if name.pattern else fraction_from_percent(name.sparsity),
        pattern=name.pattern,
        scope=grid.scope if label.base == "wanda" else "blocks",
        statistics=grid.statistics if calibrated else None,
        seed=None if label.base == "magnitude" else grid.seed,
        calibration=config.calibration if calibrated else None,
        allocation="owl" if "owl" in label.modifiers else None,
    )
