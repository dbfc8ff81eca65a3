"""Tests of one rate against another: the study's, their item-paired counterpart, and many of them at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


class ChiSquare(NamedTuple):
    """A 2 x 2 chi-square test with Yates's correction: statistic and p-value, NaN where a margin is empty."""

    statistic: Floats
    p_value: Floats


def chi_square(
    successes0: ArrayLike, trials0: ArrayLike, successes1: ArrayLike, trials1: ArrayLike
) -> ChiSquare:
    """Chi-square test of two proportions with Yates's continuity correction, elementwise.

    It takes every trial as independent, which five answers to one item are not: see
    :func:`mlx_prune.stats.clustered.paired_difference`.

    Args:
        successes0: Successes in the first sample; all four arguments broadcast.
        trials0: Size of the first sample.
        successes1: Successes in the second sample.
        trials1: Size of the second sample.
    """
    a, n0, c, n1 = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (successes0, trials0, successes1, trials1))
    )
    total, hits = n0 + n1, a + c
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.abs(a - n0 * hits / total)
        # Never past zero, as scipy.stats.contingency does.
        corrected = np.maximum(difference - 0.5, 0.0)
        statistic = corrected**2 * total**3 / (n0 * n1 * hits * (total - hits))
    statistic = np.where((n0 > 0) & (n1 > 0) & (hits > 0) & (hits < total), statistic, np.nan)
    return ChiSquare(statistic, np.asarray(special.chdtrc(1.0, statistic), np.float64))


class McNemar(NamedTuple):
    """Exact McNemar test: items that went up, items that went down, two-sided p-value."""

    up: NDArray[np.intp]
    down: NDArray[np.intp]
    p_value: Floats


def mcnemar(before: NDArray[np.bool_], after: NDArray[np.bool_], usable: NDArray[np.bool_]) -> McNemar:
    """Exact McNemar test over the last axis.

    One item is one trial, however often it was asked. Items of one template are still taken as independent.

    Args:
        before: Whether each item had the property before (..., items).
        after: Likewise after (..., items).
        usable: Which items count, for want of an answer on either side (..., items).

    Returns:
        Counts and p-values of shape (...); p is 1 where nothing changed.
    """
    up = (~before & after & usable).sum(axis=-1)
    down = (before & ~after & usable).sum(axis=-1)
    p = 2.0 * special.bdtr(np.minimum(up, down).astype(float), up + down, 0.5)
    return McNemar(up, down, np.minimum(np.asarray(p), 1.0))


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Adjusted p-values that control the false discovery rate over the family (Benjamini & Hochberg 1995).

    By hand, as SciPy's own takes half a second to import.

    Args:
        p_values: Any shape; NaN marks tests that could not be made, which stay NaN and do not count.
    """
    p: NDArray[Any] = np.asarray(p_values, float)
    made = ~np.isnan(p)
    adjusted = np.full(p.shape, np.nan)
    found = p[made]
    order = np.argsort(found)
    raised = found[order] * (len(found) / np.arange(1, len(found) + 1))
    least = np.minimum.accumulate(raised[::-1])[::-1]
    ranked = np.empty_like(found)
    ranked[order] = np.minimum(least, 1.0)
    adjusted[made] = ranked
    return adjusted
