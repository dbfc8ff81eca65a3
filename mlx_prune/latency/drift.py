"""How far a machine slowed down or sped up while a model was being timed."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

DRIFT_LIMIT = 0.10

# Repetitions of one item beyond this many are thinned: their pairs grow with the square.
_MOST_REPETITIONS = 100

Floats = npt.NDArray[np.float64]


def fitted_drift(started_s: Floats, times: Floats, items: npt.NDArray[np.int64]) -> float:
    """Change of a model's times over its run, by a line through their logarithms.

    The slope is Theil and Sen's, the median of the slopes of pairs of points, which single stutters do not
    bend. Pairs are of the same item, because items differ in length, and weigh as much as the time between
    them. Only if no item was measured twice are the measurements compared as they are.

    Args:
        started_s: (n,) start of each measurement, in seconds.
        times: (n,) what was measured, in any unit.
        items: (n,) which item each measurement belongs to.

    Returns:
        Fraction by which times grew along the line from the first measurement to the last: 0.1 is 10 %
        more time at the end. NaN if there is no pair to compare.
    """
    if not len(times):
        return math.nan
    if len(np.unique(items)) == len(items):
        items = np.zeros_like(items)
    logs = np.log(times)
    rises, runs = [], []
    for item in np.unique(items):
        own = np.flatnonzero(items == item)
        own = own[:: -(-len(own) // _MOST_REPETITIONS)]
        first, second = _pairs(len(own))
        rises.append(logs[own[second]] - logs[own[first]])
        runs.append(started_s[own[second]] - started_s[own[first]])
    rise, run = np.concatenate(rises), np.concatenate(runs)
    apart = run != 0
    if not apart.any():
        return math.nan
    slope = _weighted_median(rise[apart] / run[apart], np.abs(run[apart]))
    return math.expm1(slope * float(np.ptp(started_s)))


@lru_cache(maxsize=_MOST_REPETITIONS + 1)
def _pairs(count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    first, second = np.triu_indices(count, 1)
    return first, second


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
