"""SparseGPT as its paper states it, in float64: one weight column at a time, every inverse formed anew.

No blocks of updates, no Cholesky factor: before each column the Hessian of the inputs that are left is
inverted, and the optimal-brain-surgeon formulas are applied to it.
"""

from __future__ import annotations

import numpy as np

BLOCK = 128


def damped_hessian(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """H = 2 X^T X / tokens plus 1 % of its mean diagonal, and which inputs were always zero."""
    x = inputs.astype(np.float64)
    hessian = 2 * x.T @ x / len(x)
    dead = ~x.any(axis=0)
    damping = 0.01 * hessian.diagonal()[~dead].mean() if not dead.all() else 0.0
    hessian += np.diag(dead + damping)
    return hessian, dead


def sparsegpt(
    weight: np.ndarray,
    inputs: np.ndarray,
    *,
    zeros_by: list[int] | None = None,
    groups: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Prune one matrix.

    Args:
        weight: [out, in].
        inputs: [tokens, in].
        zeros_by: Unstructured: how many weights are to be removed from the first 128 columns, from the next,
            and so on.
        groups: N:M instead.

    Returns:
        The pruned matrix, float64, and the mask of removed weights.
    """
    w = weight.astype(np.float64).copy()
    rows, columns = w.shape
    hessian, dead = damped_hessian(inputs)
    mask = np.zeros(w.shape, dtype=bool)
    inverses = [np.linalg.inv(hessian[j:, j:]) for j in range(columns)]
    first = np.array([inverse[0, 0] for inverse in inverses])

    def cost(part: slice) -> np.ndarray:
        return np.where(dead[part], 0.0, w[:, part] ** 2 / first[part])

    for j in range(columns):
        if zeros_by is not None and j % BLOCK == 0:
            part = slice(j, min(j + BLOCK, columns))
            # Ties: lowest column, then lowest row.
            order = np.argsort(cost(part).T, axis=None, kind="stable")[: zeros_by[j // BLOCK]]
            chosen = np.zeros((part.stop - j) * rows, dtype=bool)
            chosen[order] = True
            mask[:, part] = chosen.reshape(-1, rows).T
        if groups is not None and j % groups[1] == 0:
            keep, size = groups
            part = slice(j, min(j + size, columns))
            removed = (part.stop - j) * (size - keep) // size
            order = np.argsort(cost(part), axis=1, kind="stable")[:, :removed]
            np.put_along_axis(mask[:, part], order, True, axis=1)
        removed_now = np.where(mask[:, j], w[:, j], 0.0)
        w[:, j:] -= np.outer(removed_now / inverses[j][0, 0], inverses[j][0])
        w[mask[:, j], j] = 0.0
    return w, mask
