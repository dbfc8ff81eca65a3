"""Save a pruned model as a folder that stock mlx-lm and transformers load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from mlx_prune.cards.card import write_card
from mlx_prune.checkpoint.config import CONFIG_FILE, entries_changed
from mlx_prune.checkpoint.folder import OutputFolder, copy_side_files, output_folder
from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears
from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
from mlx_prune.checkpoint.pruned_files import PrunedFiles
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import CheckpointError
from mlx_prune.kernels.zeroing import count_zeros, is_zero
from mlx_prune.pruning.mask_report import PruneReport
from mlx_prune.store import write_json


def save(model: LoadedModel, out: str | Path, report: PruneReport, *, force: bool = False) -> Path:
    """Save a model that was pruned in memory.

    The source's weight files are copied with zeros written in where the model has them, and the changed
    weights after SparseGPT, in the source's own type; every other tensor keeps its bytes. The folder appears
    whole or not at all.

    Args:
        model: As :func:`mlx_prune.prune` left it.
        out: The folder to write.
        report: From :func:`mlx_prune.prune`.
        force: Replace what is in the folder already.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder exists, is being written by another process, or cannot be written; or the
            model's weights differ from the checkpoint's by more than what the report's method does.
    """
    out = Path(out)
    if out.exists() and not force:
        raise CheckpointError(f"{out} exists already; give another folder, or use force to replace it.")
    linears = prunable_linears(model.model)
    with output_folder(out, source=model.path, force=force) as folder:
        files = PrunedFiles(model.checkpoint, model.model, linears, folder)
        folder.restart()
        files.create(linears)
        updated = None
        if report.recipe.mask.changes_weights:
            updated = {matrix.name: matrix.zeros for matrix in report.matrices}
        for linear in linears:
            source = files.original(linear)
            if updated is None:
                weight = _with_zeros_of(linear, source)
            else:
                weight = _updated(linear, source, updated, str(report.recipe.mask))
            files.write(linear, weight)
            del source, weight
        finish(folder, files.layout, model.checkpoint, report)
    return out


def _updated(linear: PrunableLinear, source: mx.array, zeros: dict[str, int], method: str) -> mx.array:
    pruned = linear.weight
    result = pruned.astype(source.dtype)
    same = mx.array_equal(result.astype(pruned.dtype), pruned).item()
    if not same or count_zeros(result) != zeros[linear.name]:
        raise CheckpointError(
            f"{linear.name} is not as {method} left it, so it cannot be saved as a pruned copy; prune the "
            "model again."
        )
    return result


def _with_zeros_of(linear: PrunableLinear, source: mx.array) -> mx.array:
    pruned = linear.weight
    result = mx.where(is_zero(pruned), mx.zeros_like(source), source)
    if not mx.array_equal(result.astype(pruned.dtype), pruned).item():
        raise CheckpointError(
            f"{linear.name} differs from the checkpoint by more than zeros, so it cannot be saved as a "
            "pruned copy."
        )
    return result


def finish(folder: OutputFolder, layout: str, source: Checkpoint, report: PruneReport) -> PruneReport:
    """Add everything but the weights, and let the folder appear; returns the report as recorded."""
    recorded = replace(report, layout=layout)
    add_side_files(folder, source)
    publish(folder, recorded.record)
    return recorded


def add_side_files(folder: OutputFolder, source: Checkpoint) -> None:
    """Copy what a model's folder holds besides weights: configuration, tokenizer, template, licence."""
    copy_side_files(source.path, folder.partial)
    if entries_changed(source.path, source.config):
        # Stock mlx-lm would not find the rotary positions where transformers writes them.
        write_json(folder.partial / CONFIG_FILE, source.config)


def publish(folder: OutputFolder, record: PruningRecord) -> None:
    """Record what was done beside the weights, with a card made of it, and let the folder appear."""
    record.write(folder.partial)
    write_card(folder.partial)
    folder.publish()


def check_same(folder: Path, record: PruningRecord | None, fingerprint: str) -> PruningRecord:
    """Refuse a folder that holds something else than what is asked for.

    Args:
        folder: The folder.
        record: Its record, if it has one.
        fingerprint: Of what is asked for.

    Returns:
        The record.

    Raises:
        CheckpointError: The fingerprints differ.
    """
    if record is None or record.fingerprint != fingerprint:
        raise CheckpointError(
            f"{folder} exists and holds something else; give another folder, or use force to replace it."
        )
    return record
