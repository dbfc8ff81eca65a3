"""Prune neurons, key-value groups or blocks from folder to folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_prune import distributed
from mlx_prune.activations.text import CalibrationTokens, calibration_tokens
from mlx_prune.chat.tokenizer import load_tokenizer
from mlx_prune.checkpoint import costs as sizes
from mlx_prune.checkpoint.config import read_config
from mlx_prune.checkpoint.folder import OutputFolder, copy_side_files, output_folder, write_json
from mlx_prune.checkpoint.hashes import quick_hash
from mlx_prune.checkpoint.open import load_network, prunable_linears, recorded_name, resolve
from mlx_prune.checkpoint.shards import Shards, open_shards
from mlx_prune.environment import device, versions
from mlx_prune.errors import RecipeError
from mlx_prune.kernels import choice
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.masking import Stopwatch, peak_rss_bytes
from mlx_prune.pruning.recipe import recipe_for_model
from mlx_prune.pruning.report import check_same, read_meta
from mlx_prune.pruning.saving import publish
from mlx_prune.pruning.structure import verify
from mlx_prune.pruning.structure.narrow import narrow
from mlx_prune.pruning.structure.recipe import StructuredRecipe
from mlx_prune.pruning.structure.report import Change, StructuredReport, report_from_json
from mlx_prune.pruning.structure.shorten import shorten
from mlx_prune.pruning.structure.source import CalibrationPass, Source, Written
from mlx_prune.wired import wired_limit

HIDDEN_LIMIT = 4 << 30


def prune_structured(
    model: str | Path,
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
    if not recipe.measures and dtype != "auto":
        raise RecipeError(
            "Width by magnitude without repair computes nothing with the model, so dtype "
            f"{dtype} would be ignored; leave it out."
        )
    out = Path(out)
    recipe = recipe_for_model(recipe, model)
    path = resolve(model, trust_remote_code=trust_remote_code)
    shards = open_shards(path)
    network, _, compute = load_network(
        path, dtype=dtype, lazy=True, shards=shards, trust_remote_code=trust_remote_code
    )
    config = read_config(path)
    data = None
    if recipe.measures:
        tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
        assert recipe.calibration is not None
        assert recipe.seed is not None
        data = calibration_tokens(recipe.calibration, tokenizer, config, recipe.seed)
    fingerprint = _fingerprint(recipe, shards, data, compute)
    if out.exists() and not force:
        return _finished(out, fingerprint, recipe)
    mx.reset_peak_memory()
    source = Source(
        name=recorded_name(model),
        path=path,
        shards=shards,
        network=network,
        config=config,
        linears=prunable_linears(network),
        compute=compute,
        trust_remote_code=trust_remote_code,
    )
    with (
        choice.recording() as kernels,
        wired_limit(),
        output_folder(out, source=path, force=force) as folder,
    ):
        folder.restart()
        try:
            return _write(
                source, recipe, folder, data, fingerprint, hidden_limit, kernels, progress or silent
            )
        finally:
            folder.discard()


def _write(
    source: Source,
    recipe: StructuredRecipe,
    folder: OutputFolder,
    data: CalibrationTokens | None,
    fingerprint: str,
    hidden_limit: int,
    kernels: choice.KernelRecord,
    progress: ProgressCallback,
) -> StructuredReport:
    """Write the weights, check them, add everything else, and let the folder appear."""
    before = sizes.measure(source.network, source.linears, source.config)
    watch = Stopwatch()
    calibration = None if data is None else CalibrationPass(source, data, folder, hidden_limit)
    if recipe.method == "width":
        written = narrow(source, recipe, folder, calibration=calibration, watch=watch, progress=progress)
    else:
        assert calibration is not None
        written = shorten(source, recipe, folder, calibration=calibration, watch=watch, progress=progress)
    seconds = dict(watch.seconds)
    copy_side_files(source.path, folder.partial)
    write_json(folder.partial / "config.json", written.config)
    after, nbytes = _checked(source, folder.partial, written)
    report = StructuredReport(
        model=source.name,
        recipe=recipe,
        bytes=Change(sizes.weight_bytes(source.shards), nbytes),
        **{key: Change(before[key], after[key]) for key in before},
        removed=written.removed,
        repair=written.repair,
        prune_time_s=round(sum(seconds.values()), 3),
        calibration_time_s=round(seconds.get("calibrate", 0.0), 3),
        peak_memory_bytes=mx.get_peak_memory(),
        peak_rss_bytes=peak_rss_bytes(),
        dtype=source.compute,
        calibration=None if calibration is None else calibration.described,
        layout=written.layout,
        versions=versions(),
        device=dict(device()),
        fingerprint=fingerprint,
        kernels=kernels.to_json(),
    )
    publish(folder, report.to_json())
    return report


def _checked(source: Source, folder: Path, written: Written) -> tuple[dict[str, int], int]:
    """Load the result beside the source and compare; tells its sizes and the bytes of its weight files."""

    def opened(path: Path, shards: Shards) -> nn.Module:
        network, _, _ = load_network(
            path, dtype="float32", lazy=True, shards=shards, trust_remote_code=source.trust_remote_code
        )
        return network

    shards = open_shards(folder)
    result = opened(folder, shards)
    sized = sizes.measure(result, prunable_linears(result), written.config)
    whole = opened(source.path, source.shards)
    verify.check_blocks((whole, source.shards), (result, shards), written.kept, written.columns)
    return sized, sizes.weight_bytes(shards)


def _finished(out: Path, fingerprint: str, recipe: StructuredRecipe) -> StructuredReport:
    """The report of a folder that holds this very prune."""
    meta = read_meta(out) or {}
    check_same(out, meta, fingerprint)
    return report_from_json(meta, recipe)


def _fingerprint(
    recipe: StructuredRecipe, shards: Shards, data: CalibrationTokens | None, compute: str
) -> str:
    """What a prune follows from: recipe, source, calibration tokens, and compute type where it matters."""
    content: dict[str, Any] = {
        "recipe": {k: v for k, v in dataclasses.asdict(recipe).items() if k != "calibration"},
        "source": quick_hash(shards),
    }
    if data is not None:
        content |= {"tokens": data.tokens_sha256, "dtype": compute}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
