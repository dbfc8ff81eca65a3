"""Confidence intervals of proportions."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlx_prune.stats.levels import CONFIDENCE


def wilson(
    successes: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's score interval of a binomial proportion (Wilson 1927), without continuity correction.

    It takes the trials as independent. Several seeds of one item are not: the interval is then too narrow
    for what the rate would be on other items.

    Args:
        successes: Counts, a number or an array.
        trials: Counts of the same shape.
        confidence: Coverage, between 0 and 1.

    Returns:
        Lower and upper limits, in [0, 1]; NaN where there are no trials.
    """
    return score_interval(successes, trials, NormalDist().inv_cdf(0.5 + confidence / 2))


def score_interval(
    successes: ArrayLike, trials: ArrayLike, quantile: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's interval for a quantile of one's own, such as Student's; all arguments broadcast.

    Args:
        successes: Counts, which need not be whole.
        trials: Counts, likewise.
        quantile: How many standard errors the limits are away.

    Returns:
        Lower and upper limits, in [0, 1]; NaN where there are no trials.
    """
    k, n, z = (np.asarray(x, np.float64) for x in (successes, trials, quantile))
    with np.errstate(invalid="ignore", divide="ignore"):
        center = (k + z * z / 2) / (n + z * z)
        half = z / (n + z * z) * np.sqrt(k * (n - k) / n + z * z / 4)
    # Exact at the ends, where rounding would leave a limit such as -1e-17.
    low = np.where(k == 0, 0.0, center - half)
    high = np.where(k == n, 1.0, center + half)
    nothing = n == 0
    return np.where(nothing, np.nan, low), np.where(nothing, np.nan, high)
