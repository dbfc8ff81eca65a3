"""Which units matter: pure functions from weights and activation statistics to scores and choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.pruning.structure.cuts import BlockCuts, Indices

Scores = np.ndarray[Any, np.dtype[np.float64]]


def wanda_scores(weight: mx.array, root_mean_square: mx.array, owners: Indices, count: int) -> Scores:
    """What each unit carries into the next projection: sum of ``|w| * rms(x)`` over outputs and its inputs.

    Args:
        weight: [outputs, inputs] of the projection that reads the units.
        root_mean_square: [inputs] of its inputs on the calibration text.
        owners: [inputs] unit of each input.
        count: Number of units.

    Returns:
        [count] scores.
    """
    columns = mx.abs(weight.astype(mx.float32)).sum(axis=0) * root_mean_square
    sums = np.bincount(owners, weights=np.array(columns, dtype=np.float64), minlength=count)
    return np.asarray(sums, dtype=np.float64)


def magnitude_scores(parameters: Mapping[str, mx.array], units: BlockCuts) -> Scores:
    """The sum of the absolute values (L1 norm) of all weights and biases that go with each unit.

    Args:
        parameters: The block's parameters that are cut, by path in the model.
        units: Where the units lie in them.

    Returns:
        [units.count] scores.
    """
    total = np.zeros(units.count)
    for name, cut in units.cuts.items():
        values = mx.abs(parameters[name].astype(mx.float32))
        others = [axis for axis in range(values.ndim) if axis != cut.axis]
        along = np.array(values.sum(axis=others) if others else values, dtype=np.float64)
        total += np.bincount(cut.owners, weights=along, minlength=units.count)
    return total


def largest(scores: Scores, count: int) -> Indices:
    """Indices of the largest scores, ascending; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def cosine_sum(before: mx.array, after: mx.array) -> mx.array:
    """Sum over tokens of the cosine similarity of two sets of hidden states.

    Args:
        before: [..., width].
        after: [..., width].

    Returns:
        A float32 scalar.
    """
    a, b = before.astype(mx.float32), after.astype(mx.float32)
    norms = mx.linalg.norm(a, axis=-1) * mx.linalg.norm(b, axis=-1)
    # A state of length zero has no direction; counted as changed altogether.
    return mx.where(norms > 0, (a * b).sum(axis=-1) / mx.maximum(norms, 1e-30), 0.0).sum()


def angular_distances(
    states: np.ndarray[Any, np.dtype[np.float32]], run: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Angles between the hidden states that enter and leave every run of blocks (Gromov et al. 2024, eq. 6).

    Args:
        states: [blocks + 1, samples, width] states of the last token of each sequence, before the first
            block, after the first block, and so on.
        run: Blocks in a run.

    Returns:
        [blocks + 1 - run] mean of arccos(cosine similarity) / pi, by the first block of the run.
    """
    x = states.astype(np.float64)
    unit = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-300)
    cosines = (unit[:-run] * unit[run:]).sum(axis=-1)
    return np.asarray(np.arccos(np.clip(cosines, -1.0, 1.0)).mean(axis=1) / np.pi)
