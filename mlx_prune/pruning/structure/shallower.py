"""Write a checkpoint with fewer blocks: those go that change the calibration text's hidden states least."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.passes import BlockSteps
from mlx_prune.checkpoint import dimensions as configuration
from mlx_prune.checkpoint.matrices import blocks, in_memory
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.errors import CheckpointError
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.structure import verify
from mlx_prune.pruning.structure.gap_repair import GapRepair, repair_gaps
from mlx_prune.pruning.structure.shrinking import Shrinking, Written
from mlx_prune.pruning.structure.tensors import (
    BlockNames,
    SourceTensors,
    block_names,
    layout_for_cuts,
    renumbered,
)
from mlx_prune.pruning.structure.transformers_config import lists_per_block, with_block_kinds

Similarity = Callable[[mx.array, mx.array], mx.array]
"""Sum over tokens of how alike two sets of hidden states, [..., width], are: 1 each where nothing changes."""


def write(
    job: Shrinking,
    similarity: Similarity,
    choose: Callable[[BlockChange, int], tuple[list[int], list[float]]],
) -> Written:
    """Remove whole blocks, and write the weights of the others.

    Args:
        job: The model, the recipe, the calibration text, and the folder.
        similarity: Of what enters and leaves a block.
        choose: From what the blocks do, so many that go, ascending; and the scores to record.

    Raises:
        RecipeError: The model's configuration cannot say what would be left.
        CheckpointError: The disk is too small; hidden states are not finite.
    """
    source, recipe, calibration, watch = job.source, job.recipe, job.calibration, job.watch
    progress = job.progress
    assert calibration is not None
    count = configuration.depth_of(source.checkpoint.config)
    removing = recipe.removed_blocks(count)
    with watch.timing("calibrate"):
        change = measure(source.network, calibration.steps(), similarity, progress)
    calibration.forget()
    gone, scores = choose(change, removing)
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
        job.writer(values).create({}, values)
    return Written(
        config=config,
        kept=kept,
        columns={repair.projection: np.arange(repair.delta.shape[1]) for repair in repairs},
        removed={"blocks": {"before": count, "after": len(kept), "removed": gone, "scores": scores}},
        repair={"blocks": [repair.described for repair in repairs]} if recipe.repair else None,
        layout=layout,
    )


def _layout(source: OnDisk, repairs: list[GapRepair], names: BlockNames) -> str:
    shapes = {f"{repair.projection}.weight": tuple(repair.delta.shape) for repair in repairs}
    return "mlx" if names.stored is None else layout_for_cuts(source.checkpoint.shards, shapes, names)


@dataclass(frozen=True)
class BlockChange:
    """What each block of a model does to its hidden states.

    Attributes:
        influence: [blocks] one minus the mean similarity of input and output over all tokens.
        last_tokens: [blocks + 1, samples, width] float32 states of each sequence's last token, before the
            first block, after it, and so on.
    """

    influence: np.ndarray[Any, np.dtype[np.float64]]
    last_tokens: np.ndarray[Any, np.dtype[np.float32]]


def measure(
    network: nn.Module, steps: BlockSteps, similarity: Similarity, progress: ProgressCallback
) -> BlockChange:
    """Run a model block by block over the calibration text.

    Args:
        network: The model, its weights lazy; they are gone afterwards.
        steps: Its calibration pass, before block 0.
        similarity: Of what enters and leaves a block.
        progress: Told after each block, stage "calibrate".

    Returns:
        What the blocks change.

    Raises:
        CheckpointError: Hidden states are not finite.
    """
    batches = range(len(steps.batches))
    ends = [[_last_token(steps.states.get(number)) for number in batches]]
    influence = []
    for index in range(steps.count):
        total, tokens, end = 0.0, 0, []
        with in_memory(blocks(network)[index]):
            for number in batches:
                before = steps.states.get(number)
                after = steps.run(index, number)
                similar = similarity(before, after)
                mx.eval(after, similar)
                total += float(np.array(similar))
                tokens += before.size // before.shape[-1]
                end.append(_last_token(after))
                steps.states.put(number, after)
        steps.states.advance()
        steps.states.forget_before(index + 1)
        if not np.isfinite(total):
            raise CheckpointError(
                f"The hidden states of block {index} overflow or are not finite on the calibration text; "
                "try --dtype float32, and check that the checkpoint is sound."
            )
        influence.append(1 - total / tokens)
        ends.append(end)
        progress(Progress("calibrate", index + 1, steps.count, f"block {index}"))
    states = np.stack([np.concatenate(end) for end in ends])
    return BlockChange(np.array(influence), states)


def _last_token(states: mx.array) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(states[:, -1].astype(mx.float32))
