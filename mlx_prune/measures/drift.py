"""How far a machine slowed down or sped up while a model was being timed."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# A Theil-Sen fit looks at every pair of points; this many are plenty for a straight line.
_MOST_POINTS = 1000

DRIFT_LIMIT = 0.10


def fitted_drift(
    started_s: npt.NDArray[np.float64], times: npt.NDArray[np.float64], items: npt.NDArray[np.int64]
) -> float:
    """Change of a model's times over its run, by a line through their logarithms.

    The line is Theil and Sen's (the median slope of all pairs of points), which single stutters do not
    bend. Items differ in length, so each is measured from its own median, in time as in duration; items
    measured once say nothing about drift and are used as they are only if there is nothing else.

    Args:
        started_s: (n,) start of each measurement, in seconds.
        times: (n,) what was measured, in any unit.
        items: (n,) which item each measurement belongs to.

    Returns:
        Fraction by which times grew along the line from the first measurement to the last: 0.1 is 10 %
        more time at the end. NaN for fewer than three measurements, or if all began at once.
    """
    from scipy import stats

    span = float(np.ptp(started_s)) if len(started_s) else 0.0
    if len(times) < 3 or span == 0:
        return math.nan
    when, logs = started_s.astype(float), np.log(times)
    _, item, counts = np.unique(items, return_inverse=True, return_counts=True)
    if counts.max() > 1:
        repeated = counts[item] > 1
        item, when, logs = item[repeated], when[repeated], logs[repeated]
        for i in np.unique(item):
            own = item == i
            when[own] -= np.median(when[own])
            logs[own] -= np.median(logs[own])
    step = -(-len(when) // _MOST_POINTS)
    slope = float(stats.theilslopes(logs[::step], when[::step])[0])
    return math.expm1(slope * span)
