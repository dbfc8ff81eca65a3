"""Prune models: random, magnitude, Wanda and SparseGPT, unstructured or N:M, in memory or between folders.

Names are imported from their modules on first use, so that importing the package loads no MLX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS: dict[str, str] = {
    "ActivationStatistics": "calibration",
    "Calibration": "recipe",
    "Inspection": "inspection",
    "PruneReport": "report",
    "Recipe": "recipe",
    "calibrate": "calibration",
    "fraction_from_percent": "recipe",
    "inspect": "inspection",
    "prune": "in_memory",
    "prune_checkpoint": "stream",
    "save": "saving",
}

if TYPE_CHECKING:
    from mlx_prune.pruning.calibration import ActivationStatistics, calibrate
    from mlx_prune.pruning.in_memory import prune
    from mlx_prune.pruning.inspection import Inspection, inspect
    from mlx_prune.pruning.recipe import Calibration, Recipe, fraction_from_percent
    from mlx_prune.pruning.report import PruneReport
    from mlx_prune.pruning.saving import save
    from mlx_prune.pruning.stream import prune_checkpoint

__all__ = [
    "ActivationStatistics",
    "Calibration",
    "Inspection",
    "PruneReport",
    "Recipe",
    "calibrate",
    "fraction_from_percent",
    "inspect",
    "prune",
    "prune_checkpoint",
    "save",
]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'mlx_prune.pruning' has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
