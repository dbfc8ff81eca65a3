"""Write a checkpoint with fewer blocks."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.checkpoint import dimensions as configuration
from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.open import load_network
from mlx_prune.checkpoint.writer import plan
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.masking import Stopwatch
from mlx_prune.pruning.saving import check_space
from mlx_prune.pruning.structure import verify
from mlx_prune.pruning.structure.depth import choose, measure
from mlx_prune.pruning.structure.depth_repair import GapRepair, repair_gaps
from mlx_prune.pruning.structure.recipe import StructuredRecipe
from mlx_prune.pruning.structure.source import CalibrationPass, Source, Written
from mlx_prune.pruning.structure.tensors import (
    BlockNames,
    SourceTensors,
    block_names,
    layout_for_cuts,
    renumbered,
)
from mlx_prune.pruning.structure.transformers_config import lists_per_block, with_block_kinds


def shorten(
    source: Source,
    recipe: StructuredRecipe,
    folder: OutputFolder,
    *,
    calibration: CalibrationPass,
    watch: Stopwatch,
    progress: ProgressCallback,
) -> Written:
    """Remove whole blocks, and write the weights of the others.

    Args:
        source: The model.
        recipe: What to remove.
        folder: Where the weight files go.
        calibration: The text.
        watch: Gets the seconds.
        progress: Told after each block that was measured.

    Returns:
        What was written.

    Raises:
        RecipeError: The model's configuration cannot say what would be left.
        CheckpointError: The disk is too small; hidden states are not finite.
    """
    count = configuration.depth_of(source.config)
    removing = recipe.removed_blocks(count)
    with watch.timing("calibrate"):
        change = measure(source.network, calibration.steps(source.network), progress)
    calibration.forget()
    gone, scores = choose(change, removing, contiguous=recipe.contiguous)
    kept = [index for index in range(count) if index not in gone]
    lists = lists_per_block(source.config)
    smaller = configuration.with_blocks(source.config, kept, lists)
    config = with_block_kinds(source.config, smaller, kept, lists)
    verify.check_kinds(source.config, config, kept)
    repairs: list[GapRepair] = []
    if recipe.repair:
        with watch.timing("calibrate"):
            repairs = repair_gaps(_fresh(source), calibration, gone, progress)
    prefixes = block_names(source.shards, source.network, source.linears)
    layout = _layout(source, repairs, prefixes)
    tensors = SourceTensors(
        source.path, source.shards, layout, prefixes, trust_remote_code=source.trust_remote_code
    )
    names = renumbered(tensors.names, tensors.prefix, kept)
    with watch.timing("write"):
        taken = tensors.take(names)
        for repair in repairs:
            name = tensors.stored(f"{repair.projection}.weight")
            weight = taken[name]
            better = (weight.astype(mx.float32) + repair.delta).astype(weight.dtype)
            taken[name] = better
            del weight, better
        values = {new: taken.pop(old) for old, new in names.items()}
        writer = plan(folder.partial, "mlx", source.shards, values)
        check_space(writer.nbytes, folder)
        writer.create({}, values)
    return Written(
        config=config,
        kept=kept,
        columns={repair.projection: np.arange(repair.delta.shape[1]) for repair in repairs},
        removed={"blocks": {"before": count, "after": len(kept), "removed": gone, "scores": scores}},
        repair={"blocks": [_described(repair) for repair in repairs]} if recipe.repair else None,
        layout=layout,
    )


def _fresh(source: Source) -> nn.Module:
    """The model once more: measuring has let go of its weights."""
    network, _, _ = load_network(
        source.path,
        dtype=source.compute,
        lazy=True,
        shards=source.shards,
        trust_remote_code=source.trust_remote_code,
    )
    return network


def _layout(source: Source, repairs: list[GapRepair], names: BlockNames) -> str:
    shapes = {f"{repair.projection}.weight": tuple(repair.delta.shape) for repair in repairs}
    return "mlx" if names.stored is None else layout_for_cuts(source.shards, shapes, names)


def _described(repair: GapRepair) -> dict[str, Any]:
    return {"block": repair.block, "without": repair.without, "repaired": repair.repaired}
