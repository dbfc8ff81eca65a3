"""Least-squares correction of a projection that lost some of its inputs, without training and without a bias.

With inputs X, split into kept K and removed R, the weights ``W'`` that minimize
``||X W^T - X_K W'^T||^2 + ridge ||W' - W_K||^2`` are ``W_K + W_R G_RK (G_KK + ridge I)^-1``, G being the Gram
matrix X^T X: what the removed inputs brought is predicted from the kept ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import scipy.linalg

from mlx_prune.activations.statistics import GramSums
from mlx_prune.pruning.structure.cuts import Indices

# Share of the mean diagonal of G_KK, so that the result does not depend on the scale of the activations.
RIDGE = 0.01
_COLUMNS = 1024  # of G in float64 at a time

Matrix = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class OutputError:
    """How far a narrowed projection is from the whole one on the calibration text.

    Attributes:
        without: ``||Y - Y'|| / ||Y||`` (Frobenius norms over all tokens) with the columns left out.
        repaired: The same with the corrected columns, in their stored type.
    """

    without: float
    repaired: float


def corrected(weight: mx.array, gram: GramSums, kept: Indices) -> mx.array:
    """The kept columns of a projection, corrected.

    Args:
        weight: [outputs, inputs] in its stored type.
        gram: Of its inputs.
        kept: Columns that stay, ascending.

    Returns:
        [outputs, kept] in the stored type.
    """
    removed = np.setdiff1d(np.arange(weight.shape[1]), kept)
    w, g = _float64(weight), np.array(gram.sums, copy=False)
    coupling = g[np.ix_(kept, removed)].astype(np.float64) @ w[:, removed].T
    added = solved(g[np.ix_(kept, kept)].astype(np.float64), coupling).T
    return mx.array((w[:, kept] + added).astype(np.float32)).astype(weight.dtype)


def solved(gram: Matrix, right: Matrix) -> Matrix:
    """Solve ``(gram + ridge I) x = right``; both may be overwritten.

    Args:
        gram: [n, n] float64, symmetric and positive semi-definite.
        right: [n, outputs] float64.

    Returns:
        [n, outputs].
    """
    # Where all inputs are zero on the text there is nothing to predict from: a unit ridge gives zero.
    gram[np.diag_indices_from(gram)] += RIDGE * float(gram.diagonal().mean()) or 1.0
    factor = scipy.linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
    return np.asarray(scipy.linalg.cho_solve(factor, right, overwrite_b=True, check_finite=False))


def output_error(weight: mx.array, gram: GramSums, kept: Indices, repaired: mx.array) -> OutputError:
    """Compare a projection with its narrowed forms.

    Args:
        weight: [outputs, inputs].
        gram: Of its inputs.
        kept: Columns that stay, ascending.
        repaired: [outputs, kept] corrected columns.

    Returns:
        Relative errors of the outputs.
    """
    w = _float64(weight)
    without, with_repair = w.copy(), w.copy()
    without[:, kept] = 0
    with_repair[:, kept] -= _float64(repaired)
    whole, left, better = (_energy(matrix, gram) for matrix in (w, without, with_repair))
    if whole == 0:
        return OutputError(0.0, 0.0)
    return OutputError(float(np.sqrt(left / whole)), float(np.sqrt(better / whole)))


def _energy(matrix: Matrix, gram: GramSums) -> float:
    """The squared Frobenius norm of X M^T, from G; sums that cancel to below zero are zero."""
    g = np.array(gram.sums, copy=False)
    total = 0.0
    for start in range(0, g.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        total += float(((matrix @ g[:, part].astype(np.float64)) * matrix[:, part]).sum())
    return max(total, 0.0)


def _float64(values: mx.array) -> Matrix:
    return np.array(values.astype(mx.float32), copy=False).astype(np.float64)
