"""Write what was asked for: a pruned copy, a quantized one, or one that is both."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

from mlx_prune import distributed
from mlx_prune.activations.text import named_source
from mlx_prune.checkpoint.config import is_quantized
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import RecipeError
from mlx_prune.json_files import fingerprint
from mlx_prune.labels import BitFormat
from mlx_prune.paths import expanded
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.mask_report import PruneReport
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.quantization_report import QuantizationReport
from mlx_prune.pruning.quantizing import finished, quantize_checkpoint, quantized_already
from mlx_prune.pruning.recipe import Recipe, recipe_for_model
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structure_report import StructuredReport
from mlx_prune.pruning.structured_recipe import StructuredRecipe


def write_pruned(
    model: Checkpoint | str | Path,
    out: str | Path,
    recipe: Recipe | StructuredRecipe,
    *,
    dtype: str = "auto",
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> PruneReport | StructuredReport:
    """Prune from folder to folder, whatever the kind of recipe; see ``prune_checkpoint`` for the rest."""
    if isinstance(recipe, StructuredRecipe):
        prune = recipe.structure.pruner() or prune_structured
        report: StructuredReport = prune(model, out, recipe, dtype=dtype, force=force, progress=progress)
        return report
    return prune_checkpoint(model, out, recipe, dtype=dtype, force=force, progress=progress)


def write_copy(
    model: Checkpoint | str | Path,
    out: str | Path,
    recipe: Recipe | StructuredRecipe | None,
    quantization: BitFormat | None,
    *,
    dtype: str = "auto",
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> PruneReport | StructuredReport | QuantizationReport:
    """Prune, quantize, or both, whichever is given; see ``prune_checkpoint`` for the rest."""
    if quantization is None:
        assert recipe is not None
        return write_pruned(model, out, recipe, dtype=dtype, force=force, progress=progress)
    if recipe is None:
        return quantize_checkpoint(model, out, quantization, force=force, progress=progress)
    return prune_and_quantize(model, out, recipe, quantization, dtype=dtype, force=force, progress=progress)


def prune_and_quantize(
    model: Checkpoint | str | Path,
    out: str | Path,
    recipe: Recipe | StructuredRecipe,
    quantization: BitFormat,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> QuantizationReport:
    """Prune a checkpoint into a hidden folder beside the output, quantize that, and remove it.

    A folder that already holds the result of this very call is left as it is, and nothing is pruned again. A
    call that was killed carries on where it stopped.

    Args:
        model: A dense model: folder, Hub id, or "demo".
        out: The folder to write.
        recipe: How to prune.
        quantization: How to quantize what comes of it.
        dtype: Compute type of the calibration.
        trust_remote_code: Run Python files that come with the model.
        force: Replace what is in the folder already.
        progress: Told about both steps.

    Raises:
        MlxPruneError: As either step does.
        RecipeError: Several processes share the job; they can prune together, but not quantize.
    """
    if distributed.size() > 1:
        raise RecipeError(
            "Under a launcher, prune first and quantize the result with -m quantize afterwards."
        )
    out = expanded(out).absolute()
    recipe = recipe_for_model(recipe, model)
    source = Checkpoint.open(model, trust_remote_code=trust_remote_code)
    if is_quantized(source.path, source.config):
        raise quantized_already(source.path)
    origin = _origin(source, recipe, dtype)
    if out.exists() and not force:
        return finished(out, origin, quantization)
    between = out.with_name(f".{out.name}.pruned-{origin[:12]}")
    write_pruned(source, between, recipe, dtype=dtype, progress=progress)
    report = quantize_checkpoint(
        Checkpoint(between, source.trust_remote_code),
        out,
        quantization,
        force=force,
        origin=origin,
        progress=progress,
    )
    # Also what earlier calls with other recipes left, if they were killed.
    for leftover in out.parent.glob(f".{out.name}.pruned-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
    return report


def _origin(source: Checkpoint, recipe: Recipe | StructuredRecipe, dtype: str) -> str:
    """What a pruned checkpoint follows from, known before it is made."""
    text = named_source(recipe.calibration) if recipe.calibration is not None else ""
    file = expanded(text)
    content = {
        "recipe": dataclasses.asdict(recipe),
        "source": source.quick_hash,
        "text": hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else str(text),
        "dtype": dtype,
    }
    return fingerprint(content)
