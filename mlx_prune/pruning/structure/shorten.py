"""Write a checkpoint with fewer blocks."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.checkpoint import dimensions as configuration
from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.checkpoint.writer import plan
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.masking import Stopwatch
from mlx_prune.pruning.saving import check_space
from mlx_prune.pruning.structure import verify
from mlx_prune.pruning.structure.depth import choose, measure
from mlx_prune.pruning.structure.depth_repair import GapRepair, repair_gaps
from mlx_prune.pruning.structure.recipe import StructuredRecipe
from mlx_prune.pruning.structure.source import CalibrationPass, Written
from mlx_prune.pruning.structure.tensors import (
    BlockNames,
    SourceTensors,
    block_names,
    layout_for_cuts,
    renumbered,
)
from mlx_prune.pruning.structure.transformers_config import lists_per_block, with_block_kinds


def shorten(
    source: OnDisk,
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
    count = configuration.depth_of(source.checkpoint.config)
    removing = recipe.removed_blocks(count)
    with watch.timing("calibrate"):
        change = measure(source.network, calibration.steps(source.network), progress)
    calibration.forget()
    gone, scores = choose(change, removing, contiguous=recipe.contiguous)
    kept = [index for index in range(count) if index not in gone]
    lists = lists_per_block(source.checkpoint.config)
    smaller = configuration.with_blocks(source.checkpoint.config, kept, lists)
    config = with_block_kinds(source.checkpoint.config, smaller, kept, lists)
    verify.check_kinds(source.checkpoint.config, config, kept)
    repairs: list[GapRepair] = []
    if recipe.repair:
        with watch.timing("calibrate"):
            fresh = source.checkpoint.network(source.compute)  # measuring has let go of the weights
            repairs = repair_gaps(fresh, calibration, gone, progress)
    prefixes = block_names(source.checkpoint.shards, source.network, source.linears)
    layout = _layout(source, repairs, prefixes)
    tensors = SourceTensors(source.checkpoint, layout, prefixes)
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
        writer = plan(folder.partial, "mlx", source.checkpoint.shards, values)
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


def _layout(source: OnDisk, repairs: list[GapRepair], names: BlockNames) -> str:
    shapes = {f"{repair.projection}.weight": tuple(repair.delta.shape) for repair in repairs}
    return "mlx" if names.stored is None else layout_for_cuts(source.checkpoint.shards, shapes, names)


def _described(repair: GapRepair) -> dict[str, Any]:
    return {"block": repair.block, "without": repair.without, "repaired": repair.repaired}
