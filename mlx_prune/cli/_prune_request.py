"""What ``mlxprune prune`` was asked for: a recipe, a quantization, or both, and nothing to be ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli._common import given, refuse_ignored

if TYPE_CHECKING:
    from mlx_prune.activations.calibration import Calibration
    from mlx_prune.labels import Quantization
    from mlx_prune.pruning.recipe import Recipe
    from mlx_prune.pruning.structure.recipe import StructuredRecipe

METHODS = ("random", "magnitude", "wanda", "sparsegpt", "width", "depth", "quantize")

_CALIBRATION = ("statistics", "calibration", "samples", "sequence_length", "seed", "dtype")
_MASK = ("sparsity", "pattern", "scope", "allocation", *_CALIBRATION)
_TAKES = {
    "width": ("sparsity", "units", "scores", "multiple", "repair", *_CALIBRATION),
    "depth": ("sparsity", "contiguous", "repair", *_CALIBRATION),
    "quantize": (),
}
_WHY = {
    "width": "width removes neurons or heads",
    "depth": "depth removes whole blocks",
    "quantize": "quantizing alone prunes nothing",
}
_QUANTIZATION = ("bits", "mode", "group_size")
_CHECKED = tuple(dict.fromkeys((*_MASK, *_TAKES["width"], *_TAKES["depth"])))


@dataclass(frozen=True)
class Request:
    """What to do with a model.

    Attributes:
        recipe: How to prune it, or None to quantize the model as it is.
        quantization: How to quantize what comes of that, or None.
    """

    recipe: Recipe | StructuredRecipe | None
    quantization: Quantization | None


def read_request(context: click.Context, method: str, options: dict[str, Any]) -> Request:
    """Turn the options of the command into a request.

    Args:
        context: Of the command, which knows what was given.
        method: One of ``METHODS``.
        options: The command's options by parameter name.

    Raises:
        UsageError: An option would be ignored, or the sparsity is missing.
        RecipeError: A value is out of range or conflicts with another.
    """
    takes = _TAKES.get(method, _MASK)
    ignored = set(_CHECKED) - {*takes, *_QUANTIZATION}
    refuse_ignored(context, ignored, _WHY.get(method, f"{method} sets single weights to zero"))
    quantization = None
    if method == "quantize" or any(given(context, name) for name in _QUANTIZATION):
        from mlx_prune.labels import Quantization

        quantization = Quantization(options["mode"], options["bits"], options["group_size"])
    if method == "quantize":
        return Request(None, quantization)
    if options["sparsity"] is None and options["pattern"] is None:
        hint = "" if method in _TAKES else " or a pattern (--pattern 2:4)"
        raise click.UsageError(f"Give a sparsity (-s 50){hint}.", context)
    recipe = _structured(method, options) if method in _TAKES else _mask(method, options)
    return Request(recipe, quantization)


def _mask(method: str, options: dict[str, Any]) -> Recipe:
    from mlx_prune.pruning.recipe import Recipe, fraction_from_percent

    sparsity = options["sparsity"]
    return Recipe(
        method=method,
        sparsity=None if sparsity is None else fraction_from_percent(sparsity),
        pattern=options["pattern"],
        scope=options["scope"],
        statistics=options["statistics"],
        seed=options["seed"],
        calibration=_calibration(options),
        allocation=None if options["allocation"] == "uniform" else options["allocation"],
    )


def _structured(method: str, options: dict[str, Any]) -> StructuredRecipe:
    from mlx_prune.pruning.recipe import fraction_from_percent
    from mlx_prune.pruning.structure.recipe import StructuredRecipe

    return StructuredRecipe(
        method=method,
        sparsity=fraction_from_percent(options["sparsity"]),
        units=options["units"],
        scores=options["scores"],
        contiguous=options["contiguous"],
        repair=options["repair"],
        multiple=options["multiple"],
        statistics=options["statistics"],
        seed=options["seed"],
        calibration=_calibration(options),
    )


def _calibration(options: dict[str, Any]) -> Calibration | None:
    from mlx_prune.activations.calibration import Calibration

    source, samples, length = (options[name] for name in ("calibration", "samples", "sequence_length"))
    if source is None and samples is None and length is None:
        return None
    return Calibration(source, samples, length)
