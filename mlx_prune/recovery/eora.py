"""A first step without training: of what compression changed, the low-rank part that moves outputs most.

EoRA (Liu et al. 2024, arXiv 2410.21271) takes the difference between a dense matrix D and what it became, W,
into the eigenspace of the inputs X, there of all matrices of a rank the nearest, and back:

    minimize over updates of rank r:  ||(D - W - update) X||^2.

With X X^T = S S^T for any square root S, such as eigenvectors times roots of the eigenvalues, the nearest is
U U^T (D - W) S, where U holds the first left singular vectors of (D - W) S. So the update is U U^T (D - W),
with U the first eigenvectors of (D - W) X X^T (D - W)^T: nothing is divided by an eigenvalue that the text
leaves at zero, and only U has to be computed, by subspace iteration (Halko et al. 2011, algorithm 4.4), which
needs no more than products. At full rank the update is the whole difference.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.statistics import GramSums
from mlx_prune.checkpoint.matrices import PrunableLinear, dense_matrix
from mlx_prune.recovery.layers import SCALE
from mlx_prune.recovery.least_squares import Fit, Fitting, inside_adapter

# Vectors beside those that are asked for, and rounds: the first ones converge long before the last.
_BESIDE, _ROUNDS = 16, 12


def low_rank(difference: mx.array, gram: GramSums, rank: int) -> tuple[mx.array, mx.array]:
    """The factors of the update of a rank that brings outputs nearest to those of the dense matrix.

    Args:
        difference: [out, in], the dense matrix less the compressed one.
        gram: X^T X of the inputs.
        rank: Of the update, at most.

    Returns:
        [out, k] and [k, in] float32, k no more than rank and either size; their product is the update. They
        share its size evenly, as is good for training.
    """
    delta, h = difference.astype(mx.float32), gram.sums / max(1, gram.count)
    rows, columns = delta.shape
    rank = min(rank, rows, columns)
    width = min(rows, rank + _BESIDE)

    def image(basis: np.ndarray) -> np.ndarray:
        """(D - W) X X^T (D - W)^T times some vectors."""
        return np.array(delta @ (h @ (delta.T @ mx.array(basis, mx.float32))), np.float64)

    # The same vectors for all matrices of a size: the result follows from its arguments alone.
    basis = np.linalg.qr(np.random.Generator(np.random.PCG64(0)).standard_normal((rows, width)))[0]
    for _ in range(_ROUNDS if width < rows else 1):
        basis = np.linalg.qr(image(basis))[0]
    small = basis.T @ image(basis)
    vectors = basis @ np.linalg.eigh((small + small.T) / 2)[1][:, ::-1][:, :rank]
    left = mx.array(vectors, mx.float32)
    right = left.T @ delta
    size = mx.sqrt(mx.linalg.norm(right, axis=1, keepdims=True))
    share = mx.where(size > 0, size, 1)
    return left * share.T, right / share


def under_mask(pruned: mx.array, dense: mx.array, gram: GramSums, rank: int) -> tuple[mx.array, Fit]:
    """The compressed matrix with the update merged where it is not zero, each row of it at its best length.

    Args:
        pruned: [out, in]; its zeros stay.
        dense: [out, in].
        gram: X^T X of its inputs.
        rank: Of the update.

    Returns:
        [out, in] float32, and the errors; no row's grows.
    """
    start, goal = pruned.astype(mx.float32), dense.astype(mx.float32)
    left, right = low_rank(goal - start, gram, rank)
    update = mx.where(start == 0, 0, left @ right)
    h = gram.sums / gram.count
    moved = update @ h
    along, own = (moved * (goal - start)).sum(axis=-1), (moved * update).sum(axis=-1)
    length = mx.where(own > 0, along / mx.where(own > 0, own, 1), 0)
    result = start + length[:, None] * update
    return result, _fit(goal - start, goal - result, goal, h)


def merging(rank: int) -> Fitting:
    """Compensate matrices in their network by updates of a rank."""

    def merge(linear: PrunableLinear, dense: mx.array, gram: GramSums) -> Fit:
        weight, fit = under_mask(linear.weight, dense, gram, rank)
        linear.set_weight(weight)
        return fit

    return merge


def filling(layers: Mapping[str, nn.Module]) -> Fitting:
    """Compensate matrices inside low-rank layers, known by their path, by the layers' own factors."""

    def fill(linear: PrunableLinear, dense: mx.array, gram: GramSums) -> Fit:
        return fit_adapter(linear, layers[inside_adapter(linear, expert=False)], dense, gram)

    return fill


def fit_adapter(linear: PrunableLinear, layer: nn.Module, dense: mx.array, gram: GramSums) -> Fit:
    """Put the factors of an update into a layer that keeps them beside its weight.

    Args:
        linear: The weight inside the layer, which may be quantized.
        layer: mlx-lm's low-rank layer; its factors are replaced. Beyond the rank there is, they are zero.
        dense: [out, in].
        gram: X^T X of the inputs.

    Returns:
        The errors without the update and with it.
    """
    weight = dense_matrix(linear.module)
    assert weight is not None
    stacked = linear.expert is not None
    start = (weight if linear.expert is None else weight[linear.expert]).astype(mx.float32)
    goal = dense.astype(mx.float32)
    rank = layer.lora_a.shape[-2 if stacked else -1]
    left, right = low_rank(goal - start, gram, rank)
    fit = _fit(goal - start, goal - start - left @ right, goal, gram.sums / gram.count)
    spare = rank - left.shape[1]
    left = mx.pad(left / SCALE, [(0, 0), (0, spare)])
    right = mx.pad(right, [(0, spare), (0, 0)])
    if linear.expert is None:
        layer.lora_a, layer.lora_b = right.T, left.T
    else:
        at = mx.array([linear.expert])
        layer.lora_a = mx.slice_update(layer.lora_a, right[None], at, axes=(0,))
        layer.lora_b = mx.slice_update(layer.lora_b, left[None], at, axes=(0,))
    mx.eval(layer.lora_a, layer.lora_b)
    return fit


def _fit(before: mx.array, after: mx.array, goal: mx.array, h: mx.array) -> Fit:
    errors = mx.stack([((away @ h) * away).sum() for away in (before, after, goal)])
    first, last, norm = np.array(errors, np.float64).tolist()
    return Fit(max(0.0, first) / (norm or 1.0), max(0.0, last) / (norm or 1.0))
