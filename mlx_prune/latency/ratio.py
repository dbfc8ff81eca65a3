"""How much slower one model is than another, and the machine than before, from times measured in pairs.

A laptop drifts (it heats up and throttles) and stutters (something else runs). Both hit whichever model is
running, so the difference of two means says little. Measured next to each other, in an order that is drawn
anew for every pair, both models of a pair meet the same machine, and what is left of the drift changes its
sign from pair to pair at random. The estimate is built to need no more than that:

1. one log ratio per item and round, log(time / dense time);
2. per item the median over its rounds, which drops a stutter;
3. over items the 20 % trimmed mean, which drops items that stuttered in most rounds and, unlike the median,
   spends the data well;
4. an interval from the Winsorized spread of the items (Tukey & McLaughlin 1963; Yuen 1974), because items are
   what was drawn at random.

Several comparisons of one command or study share one error rate: each interval has the level
``1 - (1 - confidence) / family`` (Bonferroni), so that all hold at once in ``confidence`` of the runs. Such
levels lie far out, where Student's distribution with the usual h - 1 degrees of freedom (h: items that
trimming leaves) misses up to 1.9 times as often as it should; with 0.85 (h - 1) it keeps its level, for 8 to
60 items and families of 1 to 100 (``bench/verdicts.py``).

Models too large to share the memory run in blocks, with the machine's mood common to all items of a block.
The spread of items cannot show that, so the interval then also takes in the spread over rounds
(:func:`paired_ratio`, ``blocks=True``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import cast

import numpy as np
import numpy.typing as npt

from mlx_prune.stats.levels import CONFIDENCE

Floats = npt.NDArray[np.float64]

TRIM = 0.2
MIN_ITEMS = 8
_OF_FREEDOM = 0.85

# Repetitions of one item beyond this many are thinned for its drift: their pairs grow with the square.
_MOST_REPETITIONS = 100


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """The time of one model as a multiple of the dense model's.

    Attributes:
        ratio: Typical paired ratio; 1.25 is 25 % slower.
        low: Lower end of the confidence interval, NaN where there are too few items or rounds for one.
        high: Upper end of the confidence interval, or NaN.
        confidence: Level at which the intervals of the whole family hold together.
        items: Items with at least one complete pair.
        rounds: Rounds with at least one complete pair.
        noise_share: Share of the squared width that more rounds would shrink; the rest is how items differ.
        family: Comparisons that share the level.
        errors: Standard errors of the log ratio, each with its degrees of freedom: over items and, of models
            that ran in blocks, over rounds. Empty where there is no interval.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    items: int
    rounds: int
    noise_share: float
    family: int = 1
    errors: tuple[tuple[float, float], ...] = ()

    @property
    def settled(self) -> bool:
        """Whether there is an interval at all."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def among(self, family: int) -> PairedRatio:
        """The same ratio with the interval it has as one of ``family`` comparisons."""
        if not self.errors:
            return dataclasses.replace(self, low=math.nan, high=math.nan, family=family)
        half = float(half_width(self.errors, self.confidence, family))
        low, high = self.ratio * math.exp(-half), self.ratio * math.exp(half)
        return dataclasses.replace(self, low=low, high=high, family=family)


def log_ratios(times: Floats, dense: Floats) -> Floats:
    """Paired log ratios.

    Args:
        times: (..., items, rounds) times of one model in any unit; NaN where not measured.
        dense: Likewise for the dense model.

    Returns:
        (..., items, rounds) of log(times / dense).
    """
    return cast(Floats, np.log(times) - np.log(dense))


def trimmed_mean(values: Floats) -> Floats:
    """Mean of the middle 60 % along the last axis, without its int(0.2 n) smallest and largest."""
    # Slow to import, and what a study's report computes does without.
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(values, TRIM, axis=-1))


def trimmed_error(values: Floats) -> Floats:
    """Standard error of the trimmed mean along the last axis (Yuen 1974), from Winsorized values.

    By hand: scipy's ``mstats.trimmed_stde`` divides by n - 1 rather than by what trimming leaves, for which
    the degrees of freedom here were chosen; its t test with trimming is of two independent samples; and its
    ``mstats.winsorize`` takes samples one by one.

    Args:
        values: (..., n) with n >= 4 and nothing missing; leading axes are independent samples.
    """
    n = values.shape[-1]
    cut = int(TRIM * n)
    kept = n - 2 * cut
    ordered = np.sort(values, axis=-1)
    pulled_in = np.clip(ordered, ordered[..., cut, None], ordered[..., n - cut - 1, None])
    return cast(Floats, np.sqrt(n * pulled_in.var(axis=-1) / (kept * (kept - 1))))


def degrees_of_freedom(items: int) -> float:
    """Of the trimmed mean of so many items: chosen so that far levels are kept, see the module."""
    return _OF_FREEDOM * (items - 2 * int(TRIM * items) - 1)


@lru_cache(maxsize=4096)
def critical_value(freedom: float, confidence: float, family: int = 1) -> float:
    """Two-sided point of Student's distribution for one of ``family`` intervals that hold together."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - (1 - confidence) / (2 * family)))


def half_width(errors: Sequence[tuple[Floats | float, float]], confidence: float, family: int = 1) -> Floats:
    """Half an interval: the half-widths of its independent parts, added in squares (Zou & Donner 2008).

    Args:
        errors: Standard errors with their degrees of freedom; at least one.
        confidence: Level of the family.
        family: Intervals that hold together.
    """
    parts = [error * critical_value(freedom, confidence, family) for error, freedom in errors]
    return np.asarray(reduce(np.hypot, parts))


def estimated(logs: Floats, blocks: bool) -> tuple[Floats, list[tuple[Floats | float, float]]]:
    """The log ratio of complete measurements, and its independent standard errors.

    With ``blocks``, the error over the rounds' own estimates is among them. The noise of single measurements
    is in both, so an interval of both (:func:`half_width`) is a little too wide rather than too narrow.

    Args:
        logs: (..., items, rounds) from :func:`log_ratios`, nothing missing.
        blocks: Whether the models ran in blocks, rather than in turn item by item.

    Returns:
        Estimate (...), and standard errors (...) with their degrees of freedom; none for a single round of
        blocks.
    """
    items, rounds = logs.shape[-2:]
    per_item = np.median(logs, axis=-1)
    estimate = trimmed_mean(per_item)
    errors: list[tuple[Floats | float, float]] = [(trimmed_error(per_item), degrees_of_freedom(items))]
    if not blocks:
        return estimate, errors
    if rounds < 2:
        return estimate, []
    per_round = trimmed_mean(np.moveaxis(logs, -1, -2))
    return estimate, [*errors, (per_round.std(axis=-1, ddof=1) / math.sqrt(rounds), rounds - 1.0)]


def paired_ratio(
    times: Floats, dense: Floats, *, blocks: bool = False, confidence: float = CONFIDENCE, family: int = 1
) -> PairedRatio:
    """The paired ratio of one model to the dense one, with its confidence interval.

    Args:
        times: (items, rounds) times of one model; NaN where a run was cut short.
        dense: Likewise for the dense model, in the same unit.
        blocks: Whether the models ran in blocks (see :func:`estimated`).
        confidence: Two-sided level of the family.
        family: Comparisons that share it.

    Returns:
        The ratio; without an interval below 8 items (or, in blocks, below 2 rounds). Everything is NaN if
        no pair is complete.
    """
    logs = log_ratios(times, dense)
    if blocks:
        # A round of blocks that was cut short holds some items only, and its mood cannot be told from them.
        logs = logs[:, ~np.isnan(logs).any(axis=0)]
    logs = logs[~np.isnan(logs).all(axis=1)] if logs.size else logs[:0]
    items, rounds = logs.shape[0], int((~np.isnan(logs)).any(axis=0).sum())
    nan = math.nan
    if items == 0:
        return PairedRatio(nan, nan, nan, confidence, 0, 0, nan, family)
    # Interleaved items cut short in the last round keep the rounds they have; blocks are complete by now.
    kept = logs if blocks else np.nanmedian(logs, axis=1)[:, None]
    share = 1.0 if blocks and items >= MIN_ITEMS else _noise_share(logs)
    if items < MIN_ITEMS:
        ratio = math.exp(float(trimmed_mean(np.nanmedian(logs, axis=1))))
        return PairedRatio(ratio, nan, nan, confidence, items, rounds, share, family)
    estimate, found = estimated(kept, blocks)
    errors = tuple((float(error), freedom) for error, freedom in found)
    ratio = math.exp(float(estimate))
    return PairedRatio(ratio, nan, nan, confidence, items, rounds, share, errors=errors).among(family)


def _noise_share(logs: Floats) -> float:
    """Share of the variance between items that the noise of single measurements may explain.

    The within-item variance times the 95 % point of F, over the variance between items: few rounds by chance
    look as if items differed, and are given the benefit of the doubt.
    """
    counts = (~np.isnan(logs)).sum(axis=1)
    repeated = logs[counts >= 2]
    if len(repeated) < 2:
        return 1.0
    within = float(np.nanmean(np.nanvar(repeated, axis=1, ddof=1)))
    between = float(counts.mean()) * float(np.nanmean(logs, axis=1).var(ddof=1))
    chance = _f_point(len(logs) - 1, int((counts[counts >= 2] - 1).sum()))
    return 1.0 if between <= chance * within else chance * within / between


@lru_cache(maxsize=256)
def _f_point(above: int, below: int) -> float:
    from scipy.special import fdtri

    return float(fdtri(above, below, 0.95))


def fitted_drift(started_s: Floats, times: Floats, items: npt.NDArray[np.int64]) -> float:
    """Change of a model's times over its run, by a line through their logarithms.

    The slope is that of Theil (1950) and Sen (1968), the median of the slopes of pairs of points, which
    single stutters do not bend. Pairs are of the same item, because items differ in length, and weigh as
    much as the time between them; ``scipy.stats.theilslopes`` knows neither groups nor weights. Only if no
    item was measured twice are the measurements compared as they are.

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
        first, second = np.triu_indices(len(own), 1)
        rises.append(logs[own[second]] - logs[own[first]])
        runs.append(started_s[own[second]] - started_s[own[first]])
    rise, run = np.concatenate(rises), np.concatenate(runs)
    apart = run != 0
    if not apart.any():
        return math.nan
    slope = np.quantile(rise[apart] / run[apart], 0.5, weights=np.abs(run[apart]), method="inverted_cdf")
    return math.expm1(float(slope) * float(np.ptp(started_s)))
