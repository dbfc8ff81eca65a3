"""Prune language models on Apple silicon and measure what pruning did to them.

The names below are the public interface; each is imported from its module on first use, so that
``import mlx_prune`` loads neither MLX nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlx_prune import _blas
from mlx_prune._version import __version__

_blas.preload()

_EXPORTS: dict[str, str] = {
    "ActivationStatistics": "mlx_prune.activations.passes",
    "BenchResult": "mlx_prune.latency.result",
    "BenchSettings": "mlx_prune.latency.settings",
    "Bbq": "mlx_prune.runs.settings",
    "Calibration": "mlx_prune.activations.calibration",
    "Divergence": "mlx_prune.stats.divergence",
    "Evaluation": "mlx_prune.runs.evaluate",
    "Generation": "mlx_prune.runs.settings",
    "GenerationSettings": "mlx_prune.generation.interface",
    "Item": "mlx_prune.bbq.item",
    "LoadedModel": "mlx_prune.checkpoint.open",
    "MlxPruneError": "mlx_prune.errors",
    "ModelStamp": "mlx_prune.configuration:Configuration",
    "Perplexity": "mlx_prune.stats.perplexity",
    "PruneReport": "mlx_prune.pruning.mask_report",
    "Quantization": "mlx_prune.pruning.methods.quantize",
    "QuantizationReport": "mlx_prune.pruning.quantization_report",
    "Rates": "mlx_prune.stats.rates",
    "Recipe": "mlx_prune.pruning.recipe",
    "Recovery": "mlx_prune.recovery.settings",
    "StructuredRecipe": "mlx_prune.pruning.structured_recipe",
    "StructuredReport": "mlx_prune.pruning.structure_report",
    "bench": "mlx_prune.latency.run",
    "calibrate": "mlx_prune.activations.passes",
    "divergence": "mlx_prune.runs.divergence",
    "evaluate": "mlx_prune.runs.evaluate",
    "inspect": "mlx_prune.checkpoint.inspection",
    "load": "mlx_prune.checkpoint.open",
    "load_items": "mlx_prune.bbq.items",
    "open_study": "mlx_prune.report.open",
    "perplexity": "mlx_prune.runs.perplexity",
    "prune": "mlx_prune.pruning.in_memory",
    "prune_and_quantize": "mlx_prune.pruning.job",
    "prune_checkpoint": "mlx_prune.pruning.on_disk",
    "prune_structured": "mlx_prune.pruning.structure.prune",
    "quantize_checkpoint": "mlx_prune.pruning.quantizing",
    "rates": "mlx_prune.stats.rates:from_table",
    "recover": "mlx_prune.recovery.job",
    "run_study": "mlx_prune.study.runner",
    "save": "mlx_prune.pruning.saving",
    "write_report": "mlx_prune.report.write",
}

__all__ = [
    "ActivationStatistics",
    "Bbq",
    "BenchResult",
    "BenchSettings",
    "Calibration",
    "Divergence",
    "Evaluation",
    "Generation",
    "GenerationSettings",
    "Item",
    "LoadedModel",
    "MlxPruneError",
    "ModelStamp",
    "Perplexity",
    "PruneReport",
    "Quantization",
    "QuantizationReport",
    "Rates",
    "Recipe",
    "Recovery",
    "StructuredRecipe",
    "StructuredReport",
    "__version__",
    "bench",
    "calibrate",
    "divergence",
    "evaluate",
    "inspect",
    "load",
    "load_items",
    "open_study",
    "perplexity",
    "prune",
    "prune_and_quantize",
    "prune_checkpoint",
    "prune_structured",
    "quantize_checkpoint",
    "rates",
    "recover",
    "run_study",
    "save",
    "write_report",
]

if TYPE_CHECKING:
    from mlx_prune.activations.calibration import Calibration
    from mlx_prune.activations.passes import ActivationStatistics, calibrate
    from mlx_prune.bbq.item import Item
    from mlx_prune.bbq.items import load_items
    from mlx_prune.checkpoint.inspection import inspect
    from mlx_prune.checkpoint.open import LoadedModel, load
    from mlx_prune.configuration import Configuration as ModelStamp
    from mlx_prune.errors import MlxPruneError
    from mlx_prune.generation.interface import GenerationSettings
    from mlx_prune.latency.result import BenchResult
    from mlx_prune.latency.run import bench
    from mlx_prune.latency.settings import BenchSettings
    from mlx_prune.pruning.in_memory import prune
    from mlx_prune.pruning.job import prune_and_quantize
    from mlx_prune.pruning.mask_report import PruneReport
    from mlx_prune.pruning.methods.quantize import Quantization
    from mlx_prune.pruning.on_disk import prune_checkpoint
    from mlx_prune.pruning.quantization_report import QuantizationReport
    from mlx_prune.pruning.quantizing import quantize_checkpoint
    from mlx_prune.pruning.recipe import Recipe
    from mlx_prune.pruning.saving import save
    from mlx_prune.pruning.structure.prune import prune_structured
    from mlx_prune.pruning.structure_report import StructuredReport
    from mlx_prune.pruning.structured_recipe import StructuredRecipe
    from mlx_prune.recovery.job import recover
    from mlx_prune.recovery.settings import Recovery
    from mlx_prune.report.open import open_study
    from mlx_prune.report.write import write_report
    from mlx_prune.runs.divergence import divergence
    from mlx_prune.runs.evaluate import Evaluation, evaluate
    from mlx_prune.runs.perplexity import perplexity
    from mlx_prune.runs.settings import Bbq, Generation
    from mlx_prune.stats.divergence import Divergence
    from mlx_prune.stats.perplexity import Perplexity
    from mlx_prune.stats.rates import Rates
    from mlx_prune.stats.rates import from_table as rates
    from mlx_prune.study.runner import run_study


def __getattr__(name: str) -> Any:
    place = _EXPORTS.get(name)
    if place is None:
        raise AttributeError(f"module 'mlx_prune' has no attribute {name!r}")
    module, _, attribute = place.partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    # Kept, so that a subpackage of the same name cannot take its place later.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_EXPORTS))
