"""Prune a checkpoint from folder to folder, one block in memory at a time; a killed prune carries on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlx_prune import distributed
from mlx_prune.checkpoint.folder import output_folder
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.pruned_files import PrunedFiles
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.kernels import choice
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.calibration_pass import HIDDEN_LIMIT, CalibrationPass
from mlx_prune.pruning.dense_pass import measure_dense
from mlx_prune.pruning.mask_report import PruneReport, report_from_record
from mlx_prune.pruning.masking import check_fits
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.resumable import ResumablePrune
from mlx_prune.pruning.saving import check_same
from mlx_prune.pruning.source import Source
from mlx_prune.wired import wired_limit


def prune_checkpoint(
    model: Checkpoint | str | Path,
    out: str | Path,
    recipe: Recipe,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    force: bool = False,
    hidden_limit: int = HIDDEN_LIMIT,
    cache: bool = True,
    progress: ProgressCallback | None = None,
) -> PruneReport:
    """Prune a checkpoint into a new folder, holding one block of it in memory at a time.

    Masks are decided on the checkpoint's own values, and every unpruned tensor keeps its bytes; weights that
    SparseGPT changes are rounded to the type they are stored in. State is written after each block: the same
    call after a kill carries on, to a byte-identical checkpoint. A folder that already holds this very prune
    is left as it is. Under ``mlx.launch`` the processes share the calibration samples, add up their
    statistics, and the first one keeps the checkpoint; such a prune starts over after a kill. The model runs
    inside mlx-lm's wired limit.

    Args:
        model: A folder, a Hub id, or "demo".
        out: The folder to write; it appears whole or not at all.
        recipe: What to prune.
        dtype: Compute type of the calibration, as in :func:`mlx_prune.checkpoint.open.load`; for methods that
            have one.
        trust_remote_code: Run Python files of the checkpoint.
        force: Replace what is in the folder already, and start from the first block.
        hidden_limit: Hidden states above this many bytes are kept on disk, beside the folder.
        cache: Keep activation statistics in the user's cache folder, and reuse those of earlier prunes.
        progress: Told before the first block and after each, stage "prune"; earlier, if an allocation needs
            the dense network's outliers, stage "calibrate".

    Returns:
        What was done, as recorded in the folder's pruning_meta.json.

    Raises:
        RecipeError: The recipe does not fit the model.
        CheckpointError: The model is incomplete, damaged or quantized; the folder holds something else, is in
            use or cannot be written; weights or activations are not finite.
        DataError: The calibration text is not named, cannot be read or is too short.
    """
    out = Path(out)
    what = f"{recipe.method.capitalize()} pruning"
    prepared = Source.open(model, recipe, dtype=dtype, trust_remote_code=trust_remote_code, what=what)
    opened, recipe, data = prepared.model, prepared.recipe, prepared.data
    source, linears = opened.checkpoint, opened.linears
    check_fits(recipe, linears)
    fingerprint = prepared.fingerprint(
        # Absent where uniform: prunes from before there was a choice are still recognized.
        tuple(name for name in ("allocation", "keep", "layers") if not getattr(recipe, name)),
        # There was a time when experts were left dense.
        **({"experts": "pruned"} if any(linear.expert is not None for linear in linears) else {}),
    )
    several = distributed.size() > 1
    # What is to be replaced may be damaged.
    found = None if force else existing_record(out)
    if found is not None:
        record = check_same(out, PruningRecord.of(found), fingerprint)
        return report_from_record(record, recipe, linears)
    with (
        choice.recording() as kernels,
        wired_limit(),
        own_folder(out) as own,
        output_folder(own, source=source.path, force=force) as folder,
    ):
        files = PrunedFiles(source, opened.network, linears, folder)
        job = ResumablePrune(opened, recipe, folder, files, fingerprint, kernels)
        # Processes of one job go through the blocks in step, so none may carry on from where it once was.
        job.prepare(force=force or several)
        cache = cache and not several
        report = progress or silent
        rule = recipe.allocation_rule
        if data is not None and rule is not None:
            dense = CalibrationPass(source.on_disk(dtype), data, folder.partial / "dense-pass", hidden_limit)
            job.allocate(rule, lambda: measure_dense(dense, rule, recipe, cache=cache, progress=report))
        if data is not None:
            job.calibrate_on(CalibrationPass(opened, data, folder.partial, hidden_limit), cache=cache)
        return job.run(report)


def existing_record(out: Path) -> dict[str, Any] | None:
    """What is recorded in the first process's folder; None if there is no folder."""
    mine = b""
    if distributed.rank() == 0 and out.exists():
        record = PruningRecord.find(out)
        mine = b"{}" if record is None else record.to_bytes()
    first = distributed.gather_bytes(mine)[0]
    return json.loads(first) if first else None


@contextmanager
def own_folder(out: Path) -> Iterator[Path]:
    """The folder this process writes: the first one's is kept, the others' are copies that go away."""
    if distributed.rank() == 0:
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / out.name
