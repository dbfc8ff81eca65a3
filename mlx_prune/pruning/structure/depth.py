"""Choose the blocks that change the hidden states of the calibration text least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.passes import BlockSteps
from mlx_prune.checkpoint.matrices import blocks, in_memory
from mlx_prune.errors import CheckpointError
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.structure.scores import angular_distances, cosine_sum


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
        total, tokens, end = 0.0, 0, []
        with in_memory(blocks(network)[index]):
            for number in batches:
                before = steps.states.get(number)
                after = steps.run(index, number)
                similar = cosine_sum(before, after)
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
