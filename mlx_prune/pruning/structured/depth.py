"""Write a checkpoint without the blocks that change the hidden states of the calibration text least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from mlx_prune.checkpoints import blocks
from mlx_prune.errors import CheckpointError
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.calibration import BlockSteps
from mlx_prune.pruning.engine import Stopwatch
from mlx_prune.pruning.folder import OutputFolder
from mlx_prune.pruning.saving import check_space
from mlx_prune.pruning.structured import configuration, tensors, verify
from mlx_prune.pruning.structured.recipe import StructuredRecipe
from mlx_prune.pruning.structured.scores import angular_distances, cosine_sum
from mlx_prune.pruning.structured.source import Source, Written, forget_states
from mlx_prune.pruning.structured.transformers_config import with_block_kinds
from mlx_prune.pruning.writer import plan


@dataclass(frozen=True)
class BlockChange:
    """What each block of a model does to its hidden states.

    Attributes:
        influence: [blocks] one minus the mean cosine similarity of input and output over all tokens.
        last_tokens: [blocks + 1, samples, width] float32 states of each sequence's last token, before the
            first block, after it, and so on.
    """

    influence: np.ndarray[Any, np.dtype[np.float64]]
    last_tokens: np.ndarray[Any, np.dtype[np.float32]]


def shorten(
    source: Source,
    recipe: StructuredRecipe,
    folder: OutputFolder,
    *,
    steps: BlockSteps,
    watch: Stopwatch,
    progress: ProgressCallback,
) -> Written:
    """Remove whole blocks, and write the weights of the others.

    Args:
        source: The model.
        recipe: What to remove.
        folder: Where the weight files go.
        steps: The calibration pass, before block 0.
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
        change = measure(source.network, steps, progress)
    forget_states(folder)
    gone, scores = choose(change, removing, contiguous=recipe.contiguous)
    kept = [index for index in range(count) if index not in gone]
    config = with_block_kinds(source.config, configuration.with_blocks(source.config, kept), kept)
    verify.check_kinds(source.config, config, kept)
    layout = tensors.layout_for_blocks(source.shards, source.network)
    held = tensors.SourceTensors(
        source.path, source.shards, layout, trust_remote_code=source.trust_remote_code
    )
    names = tensors.renumbered(held.names, tensors.block_prefix(source.network), kept)
    with watch.timing("write"):
        taken = held.take(names)
        values = {new: taken.pop(old) for old, new in names.items()}
        writer = plan(folder.partial, "mlx", source.shards, values)
        check_space(writer, folder)
        writer.create({}, values)
    removed = {"blocks": {"before": count, "after": len(kept), "removed": gone, "scores": scores}}
    return Written(config, kept, {}, removed, None, layout)


def measure(network: nn.Module, steps: BlockSteps, progress: ProgressCallback) -> BlockChange:
    """Run a model block by block over the calibration text.

    Args:
        network: The model, its weights lazy; they are gone afterwards.
        steps: Its calibration pass, before block 0.
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
        block = blocks(network)[index]
        for _, values in tree_flatten(block.parameters()):
            mx.eval(values)
        total, tokens, end = 0.0, 0, []
        for number in batches:
            before = steps.states.get(number)
            after = steps.run(index, number)
            similar = cosine_sum(before, after)
            last = _last_token(after)
            mx.eval(after, similar)
            total += float(np.array(similar))
            tokens += before.size // before.shape[-1]
            end.append(last)
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
        block.update(tree_unflatten([(name, mx.zeros((0,))) for name, _ in tree_flatten(block.parameters())]))
        mx.clear_cache()
        progress(Progress("calibrate", index + 1, steps.count, f"block {index}"))
    states = np.stack([np.concatenate(end) for end in ends])
    return BlockChange(np.array(influence), states)


def choose(change: BlockChange, count: int, *, contiguous: bool) -> tuple[list[int], list[float]]:
    """The blocks to remove.

    Args:
        change: What the blocks do.
        count: How many go.
        contiguous: As one run, the one whose input and output are closest by angle; else those of least
            influence, of equal ones the first.

    Returns:
        Their indices, ascending; and the score of every block, or of every run by its first block.
    """
    if contiguous:
        distances = angular_distances(change.last_tokens, count)
        first = int(np.argmin(distances))
        return list(range(first, first + count)), distances.tolist()
    order = np.argsort(change.influence, kind="stable")
    return sorted(int(index) for index in order[:count]), change.influence.tolist()


def _last_token(states: mx.array) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(states[:, -1].astype(mx.float32))
