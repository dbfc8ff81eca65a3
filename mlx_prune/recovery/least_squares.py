"""The first step, without training: kept weights that make up for the zeros beside them, by least squares.

Of each matrix the kept weights are moved to where its outputs on the text are closest to the dense matrix's,

    minimize over W:  ||(W - D) X||^2 + ridge ||W - P||^2,   W zero where P is,

with D the dense matrix, P the pruned one and X its inputs, of which X^T X is all that has to be known. Every
row has a mask of its own, and so a system of its own; all are solved at once by conjugate gradients, scaled
by the diagonal (Saad, Iterative Methods for Sparse Linear Systems, algorithm 9.1), which need products with
X^T X alone. SparseGPT moves weights to the same end while it chooses the mask, in one greedy pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import GramSums, gram_sums
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.recovery.data import TrainingData

# Share of the mean diagonal of X^T X, as for repairs of removed units: what the text hardly tells stays.
RIDGE = 0.01
# Rounds of conjugate gradients; the error hardly falls after some thirty.
ROUNDS = 32
# Inputs are measured on so many tokens for each feature of the widest matrix, and on so many at most.
TOKENS_PER_FEATURE, MOST_TOKENS = 16, 32_768


@dataclass(frozen=True)
class Fit:
    """How far a matrix's outputs are from the dense one's, ``||(W - D) X||^2 / ||D X||^2``.

    Attributes:
        before: As it was pruned.
        after: With the kept weights moved.
    """

    before: float
    after: float


def sample_of(data: TrainingData, linears: Sequence[PrunableLinear]) -> CalibrationTokens:
    """The sequences that inputs are measured on: from all over the text, as documents differ.

    Args:
        data: To choose from.
        linears: The matrices to fit.
    """
    count, length = data.train.shape
    widest = max(linear.in_features for linear in linears)
    wanted = min(count, -(-min(TOKENS_PER_FEATURE * widest, MOST_TOKENS) // length))
    chosen = np.linspace(0, count - 1, wanted).round().astype(int)
    return CalibrationTokens(data.train[chosen], data.source, data.sha256)


Fitting = Callable[[PrunableLinear, mx.array, GramSums], Fit]


def move_kept(linear: PrunableLinear, dense: mx.array, gram: GramSums) -> Fit:
    """Fit the kept weights of one matrix in its network."""
    weight, fit = fitted(linear.weight, dense, gram)
    linear.set_weight(weight)
    return fit


def fit_network(
    network: nn.Module,
    teacher: nn.Module,
    sample: CalibrationTokens,
    config: dict[str, Any],
    progress: ProgressCallback,
    way: tuple[str, Fitting] = ("least squares", move_kept),
) -> dict[str, Fit]:
    """Fit every matrix to the dense one, block by block, on what the blocks before put out.

    Args:
        network: The pruned model, in memory; it is changed. Layers may stand inside mlx-lm's low-rank ones.
        teacher: The dense model of the same shapes, in memory.
        sample: Sequences that are run through the network.
        config: The pruned model's config.json.
        progress: Told after each block.
        way: What the stage is called, and what fits one matrix, given the dense one and X^T X of its inputs.

    Returns:
        What was gained in each matrix, by its name.

    Raises:
        CheckpointError: Activations are not finite, or cannot be measured block by block.
    """
    linears = prunable_linears(network, quantized=True)
    dense = {linear.name: linear for linear in prunable_linears(teacher)}
    steps = BlockSteps(network, linears, sample, config=config)
    steps.begin(HiddenStates(len(steps.batches)))
    found: dict[str, Fit] = {}
    for index in range(steps.count):
        inside = [linear for linear in linears if linear.block == index]
        found |= _fit_block(steps, index, inside, dense, way[1])
        if index + 1 < steps.count:
            steps.advance(index)
        progress(Progress(way[0], index + 1, steps.count, f"block {index}"))
    return found


def _fit_block(
    steps: BlockSteps,
    index: int,
    linears: Sequence[PrunableLinear],
    dense: dict[str, PrunableLinear],
    fit: Fitting,
) -> dict[str, Fit]:
    """Layer by layer of the block's inputs: those that share one are measured once."""
    sums = steps.watch(index, measure=gram_sums, advance=False)
    found = {}
    for linear in linears:
        gram = sums[linear.name]
        if gram.count == 0:  # an expert that the text did not reach
            continue
        own = dense.get(linear.name) or dense[inside_adapter(linear)]
        found[own.name] = fit(linear, own.weight, gram)
    return found


def inside_adapter(linear: PrunableLinear, *, expert: bool = True) -> str:
    """The name that a matrix inside one of mlx-lm's low-rank layers has without that."""
    layer = linear.layer.removesuffix(".linear")
    return f"{layer}[{linear.expert}]" if expert and linear.expert is not None else layer


def fitted(pruned: mx.array, dense: mx.array, gram: GramSums) -> tuple[mx.array, Fit]:
    """Solve for the kept weights of one matrix.

    Args:
        pruned: [out, in]; its zeros stay.
        dense: [out, in].
        gram: X^T X of its inputs.

    Returns:
        [out, in] float32, and the errors. A row whose error would grow keeps its weights.
    """
    start, goal = pruned.astype(mx.float32), dense.astype(mx.float32)
    kept = start != 0
    h = gram.sums / gram.count
    diagonal = mx.diag(h)
    ridge = RIDGE * diagonal.mean()
    scale = 1 / (diagonal + mx.where(ridge > 0, ridge, 1.0))
    away = (goal - start) @ h
    before = (away * (goal - start)).sum(axis=-1)
    residual = mx.where(kept, away, 0)
    scaled = residual * scale
    direction = scaled
    size = (residual * scaled).sum(axis=-1, keepdims=True)
    moved = mx.zeros_like(start)
    for _ in range(ROUNDS):
        product = mx.where(kept, direction @ h + ridge * direction, 0)
        curvature = (direction * product).sum(axis=-1, keepdims=True)
        length = mx.where(curvature > 0, size / mx.where(curvature > 0, curvature, 1), 0)
        moved = moved + length * direction
        residual = residual - length * product
        scaled = residual * scale
        new = (residual * scaled).sum(axis=-1, keepdims=True)
        direction = scaled + mx.where(size > 0, new / mx.where(size > 0, size, 1), 0) * direction
        size = new
        mx.eval(moved, residual, direction, size)
    left = goal - start - moved
    after = ((left @ h) * left).sum(axis=-1)
    better = mx.isfinite(after) & (after < before)
    result = mx.where(better[:, None], start + moved, start)
    whole = ((goal @ h) * goal).sum()
    errors = mx.stack([before.sum(), mx.where(better, after, before).sum(), whole])
    mx.eval(result, errors)
    first, last, norm = np.array(errors, np.float64).tolist()
    return result, Fit(max(0.0, first) / (norm or 1.0), max(0.0, last) / (norm or 1.0))
