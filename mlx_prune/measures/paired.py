"""How much slower or faster one model is than another, from times that were measured in pairs.

A laptop drifts (it heats up and throttles) and stutters (something else runs). Both hit whichever model is
running, so the difference of two means says little. Measured next to each other, in an order that is drawn
anew for every pair, both models of a pair meet the same machine, and what is left of the drift changes its
sign from pair to pair at random. The estimate is built to need no more than that:

1. one log ratio per item and round, log(time / dense time);
2. per item the median over its rounds, which drops a stutter;
3. over items the 20 % trimmed mean, which drops items that stuttered in most rounds and, unlike the median,
   spends the data well;
4. an interval by resampling items, because items are what was drawn at random. Percentile intervals of a
   few dozen values are too narrow; their levels are widened to Student's (Hesterberg 2015, "What Teachers
   Should Know About the Bootstrap", section 4.3, the expanded percentile interval). Percentile bootstrap and
   trimmed mean go together well (Wilcox 2012, "Introduction to Robust Estimation", chapter 4).

Models too large to share the memory run in blocks, with the machine's mood common to all items of a block.
Resampling items cannot see that, so the interval then also takes in the spread over rounds
(:func:`ratio_interval`, ``blocks=True``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TRIM = 0.2
RESAMPLES = 6000
MIN_ITEMS = 8


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """The time of one model as a multiple of the dense model's.

    Attributes:
        ratio: Typical paired ratio; 1.25 is 25 % slower.
        low: Lower end of the confidence interval, NaN where there are too few items or rounds for one.
        high: Upper end of the confidence interval, or NaN.
        confidence: Level of the interval.
        items: Items with at least one complete pair.
        rounds: Rounds with at least one complete pair.
        noise_share: Share of the squared width that more rounds would shrink; the rest is how items differ.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    items: int
    rounds: int
    noise_share: float

    @property
    def settled(self) -> bool:
        """Whether there is an interval at all."""
        return math.isfinite(self.low) and math.isfinite(self.high)


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
    cut = int(TRIM * values.shape[-1])
    return cast(Floats, np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1))


def bootstrap_interval(values: Floats, confidence: float = 0.95, seed: int = 0) -> tuple[Floats, Floats]:
    """Expanded percentile bootstrap interval of the 20 % trimmed mean along the last axis.

    Args:
        values: (..., n) with n >= 2 and nothing missing; leading axes are independent samples.
        confidence: Two-sided level.
        seed: Of the resampling; the same values give the same interval.

    Returns:
        Lower and upper ends, each of shape (...).
    """
    from scipy import stats

    n = values.shape[-1]
    # A resample of sorted values, its indices sorted, is sorted itself: its trimmed mean is a weighted sum.
    replicates = np.sort(values, axis=-1) @ _resampling_weights(n, seed).T
    z = math.sqrt(n / (n - 1)) * float(stats.t.ppf(0.5 + confidence / 2, n - 1))
    tail = float(stats.norm.cdf(-z))
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=-1)
    return low, high


@lru_cache(maxsize=16)
def _resampling_weights(n: int, seed: int) -> Floats:
    half = np.random.default_rng(seed).integers(0, n, (RESAMPLES // 2, n))
    # Each resample with its mirror image: exchanging the two models inverts the interval exactly.
    drawn = np.sort(np.concatenate([half, n - 1 - half]), axis=1)
    cut = int(TRIM * n)
    kept = drawn[:, cut : n - cut]
    weights = np.zeros((RESAMPLES, n))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None], kept), 1 / kept.shape[1])
    weights.flags.writeable = False
    return weights


def ratio_interval(
    logs: Floats, *, blocks: bool = False, confidence: float = 0.95, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Estimate and interval of the log ratio, for complete measurements.

    With ``blocks``, the half-widths of the bootstrap over items and of Student's interval over the rounds'
    own estimates are added in squares (Zou & Donner 2008). The noise of single measurements is in both, so
    such an interval is a little too wide rather than too narrow.

    Args:
        logs: (..., items, rounds) from :func:`log_ratios`, nothing missing.
        blocks: Whether the models ran in blocks, rather than in turn item by item.
        confidence: Two-sided level.
        seed: Of the resampling.

    Returns:
        Estimate, lower and upper end on the log scale, each of shape (...).
    """
    from scipy import stats

    per_item = np.median(logs, axis=-1)
    estimate = trimmed_mean(per_item)
    low, high = bootstrap_interval(per_item, confidence, seed)
    if not blocks:
        return estimate, low, high
    rounds = logs.shape[-1]
    if rounds < 2:
        nothing = np.full_like(estimate, np.nan)
        return estimate, nothing, nothing
    per_round = trimmed_mean(np.moveaxis(logs, -1, -2))
    error = per_round.std(axis=-1, ddof=1) / math.sqrt(rounds)
    half = error * float(stats.t.ppf(0.5 + confidence / 2, rounds - 1))
    return estimate, estimate - np.hypot(estimate - low, half), estimate + np.hypot(high - estimate, half)


def paired_ratio(
    times: Floats, dense: Floats, *, blocks: bool = False, confidence: float = 0.95, seed: int = 0
) -> PairedRatio:
    """The paired ratio of one model to the dense one, with its confidence interval.

    Args:
        times: (items, rounds) times of one model; NaN where a run was cut short.
        dense: Likewise for the dense model, in the same unit.
        blocks: Whether the models ran in blocks (see :func:`ratio_interval`).
        confidence: Two-sided level.
        seed: Of the resampling.

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
        return PairedRatio(nan, nan, nan, confidence, 0, 0, nan)
    per_item = np.nanmedian(logs, axis=1)
    if items < MIN_ITEMS:
        ratio = math.exp(float(trimmed_mean(per_item)))
        return PairedRatio(ratio, nan, nan, confidence, items, rounds, _noise_share(logs))
    # Interleaved items cut short in the last round keep the rounds they have; blocks are complete by now.
    estimate, low, high = ratio_interval(
        logs if blocks else per_item[:, None], blocks=blocks, confidence=confidence, seed=seed
    )
    return PairedRatio(
        math.exp(float(estimate)),
        math.exp(float(low)),
        math.exp(float(high)),
        confidence,
        items,
        rounds,
        1.0 if blocks else _noise_share(logs),
    )


def _noise_share(logs: Floats) -> float:
    """Share of the variance between items that the noise of single measurements may explain.

    The within-item variance times the 95 % point of F, over the variance between items: few rounds by chance
    look as if items differed, and are given the benefit of the doubt.
    """
    from scipy import stats

    counts = (~np.isnan(logs)).sum(axis=1)
    repeated = logs[counts >= 2]
    if len(repeated) < 2:
        return 1.0
    within = float(np.nanmean(np.nanvar(repeated, axis=1, ddof=1)))
    between = float(counts.mean()) * float(np.nanmean(logs, axis=1).var(ddof=1))
    freedom = int((counts[counts >= 2] - 1).sum())
    chance = float(stats.f.ppf(0.95, len(logs) - 1, freedom))
    return 1.0 if between <= chance * within else chance * within / between
