"""Prune neurons, key-value groups or blocks from folder to folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from mlx_prune import distributed
from mlx_prune.checkpoint.config import CONFIG_FILE
from mlx_prune.checkpoint.folder import copy_side_files, output_folder
from mlx_prune.checkpoint.open import Checkpoint, OnDisk
from mlx_prune.checkpoint.record import Change, PruningRecord
from mlx_prune.errors import RecipeError
from mlx_prune.kernels import choice
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.calibration_pass import HIDDEN_LIMIT, CalibrationPass
from mlx_prune.pruning.saving import check_same, publish
from mlx_prune.pruning.source import Source
from mlx_prune.pruning.structure import verify
from mlx_prune.pruning.structure.shrinking import Shrinking, Written
from mlx_prune.pruning.structure_report import StructuredReport, report_from_record
from mlx_prune.store import write_json
from mlx_prune.wired import wired_limit

if TYPE_CHECKING:
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


def prune_structured(
    model: Checkpoint | str | Path,
    out: str | Path,
    recipe: StructuredRecipe,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    force: bool = False,
    hidden_limit: int = HIDDEN_LIMIT,
    progress: ProgressCallback | None = None,
) -> StructuredReport:
    """Write a smaller dense checkpoint, holding one block of the model in memory at a time.

    The result loads in stock mlx-lm, and in transformers where the source did. Before it appears it is loaded
    and run beside the source on a few tokens. A folder that already holds this very prune is left as it is; a
    killed prune leaves nothing and starts over. The model runs inside mlx-lm's wired limit.

    Args:
        model: A folder, a Hub id, or "demo".
        out: The folder to write; it appears whole or not at all.
        recipe: What to remove.
        dtype: Compute type of the calibration, as in :func:`mlx_prune.checkpoint.open.load`.
        trust_remote_code: Run Python files of the checkpoint.
        force: Replace what is in the folder already.
        hidden_limit: Hidden states above this many bytes are kept on disk, beside the folder.
        progress: Told after each block, stage "calibrate" and "repair" (depth) or "prune" (width).

    Returns:
        What was done, as recorded in the folder's pruning_meta.json.

    Raises:
        RecipeError: The recipe does not fit the model, or its architecture cannot be made smaller that way.
        CheckpointError: The model is incomplete, damaged or quantized; the folder holds something else, is in
            use or cannot be written; activations are not finite.
        DataError: The calibration text is not named, cannot be read or is too short.
    """
    if distributed.size() > 1:
        raise RecipeError("Width and depth run in one process; start the command without mlx.launch.")
    out = Path(out)
    what = recipe.structure.unmeasured
    prepared = Source.open(model, recipe, dtype=dtype, trust_remote_code=trust_remote_code, what=what)
    source, recipe, data = prepared.model, prepared.recipe, prepared.data
    fingerprint = prepared.fingerprint()
    if out.exists() and not force:
        return report_from_record(check_same(out, PruningRecord.find(out), fingerprint), recipe)
    mx.reset_peak_memory()
    with (
        choice.recording() as kernels,
        wired_limit(),
        output_folder(out, source=source.checkpoint.path, force=force) as folder,
    ):
        folder.restart()
        try:
            text = None if data is None else CalibrationPass(source, data, folder.partial, hidden_limit)
            return _write(Shrinking(source, recipe, folder, text, progress or silent), fingerprint, kernels)
        finally:
            folder.discard()


def _write(job: Shrinking, fingerprint: str, kernels: choice.KernelRecord) -> StructuredReport:
    """Write the weights, check them, add everything else, and let the folder appear."""
    source, folder = job.source, job.folder
    before = _sizes(source)
    written = job.recipe.structure.write(job)
    copy_side_files(source.checkpoint.path, folder.partial)
    write_json(folder.partial / CONFIG_FILE, written.config)
    after = _checked(source.checkpoint, folder.partial, written)
    report = StructuredReport.measured(
        job.watch,
        kernels,
        None,
        model=source.checkpoint.name,
        recipe=job.recipe,
        **{key: Change(before[key], after[key]) for key in before},
        removed=written.removed,
        repair=written.repair,
        dtype=source.compute,
        calibration=None if job.calibration is None else job.calibration.described,
        layout=written.layout,
        fingerprint=fingerprint,
    )
    publish(folder, report.record)
    return report


def _checked(source: Checkpoint, folder: Path, written: Written) -> dict[str, int]:
    """Load the result beside the source and compare; tells its sizes."""
    result = Checkpoint(folder, source.trust_remote_code).on_disk("float32")
    sized = _sizes(result)
    verify.check_blocks(source.on_disk("float32"), result, written.kept, written.columns)
    return sized


def _sizes(model: OnDisk) -> dict[str, int]:
    """What the record says of a model before and after."""
    return {
        "prunable": sum(linear.size for linear in model.linears),
        **asdict(model.checkpoint.costs(model.network)),
    }
