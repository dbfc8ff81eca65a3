"""Structured pruning: fewer neurons, key-value groups or blocks, saved as a smaller dense checkpoint.

Names are imported from their modules on first use, so that importing the package loads no MLX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS: dict[str, str] = {
    "StructuredRecipe": "recipe",
    "StructuredReport": "report",
    "prune_structured": "prune",
}

if TYPE_CHECKING:
    from mlx_prune.pruning.structured.prune import prune_structured
    from mlx_prune.pruning.structured.recipe import StructuredRecipe
    from mlx_prune.pruning.structured.report import StructuredReport

__all__ = ["StructuredRecipe", "StructuredReport", "prune_structured"]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'mlx_prune.pruning.structured' has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
