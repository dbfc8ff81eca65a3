"""Intervals and tests that respect how BBQ items hang together.

Five answers to one item are not five items, and the dozens of items made from one question template are not
dozens of questions. The templates are what was sampled, so everything here rests on one number per template:
what it adds to a rate, or to the difference of two rates (which are paired, since dense and pruned models
answer the same templates).

Why not plus or minus two standard errors, or a bootstrap of templates? Rates near zero are the rule, and with
them most of a change comes from few templates. A sample that missed the templates that move most has too
small a change and too small a standard error at once; both methods, the bootstrap-t included, then miss the
truth too often, always on the same side (``bench/coverage.py`` counts how often). Four corrections, each
known, put most of that right together:

- standard errors are the jackknife's (CV3: MacKinnon, Nielsen & Webb 2023, "Cluster-robust inference: a guide
  to empirical practice"; Bell & McCaffrey 2002), which allow for few templates and for large ones;
- quantiles are Student's, with Satterthwaite's degrees of freedom (Imbens & Kolesar 2016, "Robust standard
  errors in small samples") at most as many as the spread of the contributions themselves supports: ten
  templates that move among a hundred that do not are ten;
- the variance is not taken as known but grows along with the change, on the side to which the contributions
  are skewed. That is what a score interval such as Wilson's does for a proportion; its slope is the skewness,
  as in Johnson 1978, "Modified t tests and confidence intervals for asymmetrical populations";
- no p-value is below what swapping dense and pruned at random, template by template, could give (Canay,
  Romano & Shaikh 2017, "Randomization tests under an approximate symmetry assumption").

The p-value of a difference is the level at which its interval ends at zero, so an interval excludes zero
exactly where the p-value is below the level. Nothing is resampled: any confidence can be asked for.

Theory says which way each correction goes, not how far. The factor of the skewness, its allowance for small
samples, and the degrees of freedom that skewed contributions support were chosen among about a hundred
variants by what covered in simulations of one generator; its table in ``bench/README.md`` is thus a fit.
On a second generator, held out (heavy tails, unequal templates, seeds that agree within an item), 95 %
intervals of a change covered 94 % and more in 715 of 720 cells; the other five, all of expected rates of 0.01
with 12 or 25 templates, lay at 92.3 to 93.8 %.

What no interval made from data can show: a change confined to templates that are not in the sample. Of an
effect in 15 % of the templates, the others moving a little, up to 26 % of the intervals miss the truth with 6
templates, 15 % with 12, and 7 % with 25 or 50.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mlx_prune.stats.levels import CONFIDENCE
from mlx_prune.stats.rates import score_interval

Floats = NDArray[np.float64]
Sums = tuple[Floats, Floats, Floats, Floats]

FEWEST_CLUSTERS = 6
"""With fewer templates no two-sided p-value can be below 0.05, and no interval tried held its level."""
# How much faster than the skewness seen the variance grows, since samples of a skewed distribution mostly
# look less skewed than it is. No theory gives the value: with `few` and `tail` in `_compare` it was chosen,
# among about a hundred variants, by what covered on the first generator of bench/made_up_benchmarks.py. The
# held-out generator there is for judging it, not for another choice.
_SKEWNESS_FACTOR = 1.5
# Contributions smaller than this, relative to a template's weight, are rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class Difference:
    """Difference of two paired rates, and how sure it is. Arrays of one shape, one entry per comparison.

    Attributes:
        value: Second rate minus the first.
        standard_error: Cluster-robust.
        low: Lower end of the confidence interval, within the scale (from -1 to 1 for shares, from -2 to 2 for
            means of answers that count either way). NaN where an interval cannot be had: with
            fewer than :data:`FEWEST_CLUSTERS` clusters, with all answers of a stratum in one cluster, or
            where no cluster differs.
        high: Upper end; NaN where ``low`` is.
        p_value: Two-sided, of no difference; 1 where no cluster differs, NaN where it cannot be had.
        clusters: Templates the comparison rests on.
    """

    value: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    p_value: Floats
    clusters: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums over the clusters of powers of what each adds to an estimate; each (comparisons,).

    Attributes:
        value: The estimate; NaN where it has no answers.
        second: Of the squares: the variance.
        third: Of the cubes.
        fourth: Of the fourth powers.
        weight: Of the squared shares of answers, times the square of the largest value one answer may have.
        freedom: ``second ** 2`` over the degrees of freedom, which add up in this form.
        one: What a single answer adds.
        moved: How many clusters differ between the two sides.
        clusters: How many there are.
    """

    value: Floats
    second: Floats
    third: Floats
    fourth: Floats
    weight: Floats
    freedom: Floats
    one: Floats
    moved: Floats
    clusters: Floats


def cluster_sums(values: NDArray[np.generic], cluster: NDArray[np.intp], clusters: int) -> Floats:
    """Sum over the items of each cluster.

    Args:
        values: (..., items).
        cluster: Cluster number of each item (items,).
        clusters: How many there are.

    Returns:
        (..., clusters).
    """
    shape = values.shape[:-1]
    flat = np.asarray(values, float).reshape(math.prod(shape), len(cluster))
    places = cluster + np.arange(len(flat))[:, None] * clusters
    sums = np.bincount(places.ravel(), flat.ravel(), len(flat) * clusters)
    return np.asarray(sums, np.float64).reshape(*shape, clusters)


def paired_difference(
    numerator0: Floats,
    denominator0: Floats,
    numerator1: Floats,
    denominator1: Floats,
    stratum: NDArray[np.intp] | None = None,
    *,
    confidence: float = CONFIDENCE,
    bounded: bool = True,
) -> Difference:
    """Compare two rates, each a ratio of sums over the same clusters.

    With strata (BBQ categories) each rate is the unweighted mean of the strata's rates, and a comparison that
    lacks a stratum's denominator on either side leaves it out. Where every cluster changes alike, the spread
    is taken from a single answer; where none changes, there is no interval, since nothing tells how large a
    change would have been.

    Args:
        numerator0: Per-cluster sums of the first rate's numerator (comparisons, clusters); any of the four
            may have a single row for all comparisons. One answer adds from -1 to 1 to it.
        denominator0: Likewise of its denominator.
        numerator1: Likewise of the second rate's numerator.
        denominator1: Likewise of its denominator.
        stratum: Stratum number of each cluster (clusters,); None for a single one.
        confidence: Two-sided level, as high as wanted.
        bounded: Whether what an answer adds has the bounds said above, within which an interval then ends.
    """
    n0, d0, n1, d1 = np.broadcast_arrays(
        *(np.atleast_2d(np.asarray(x, float)) for x in (numerator0, denominator0, numerator1, denominator1))
    )
    groups = np.zeros(n0.shape[1], np.intp) if stratum is None else stratum
    parts = []
    for number in np.unique(groups):
        mine = groups == number
        parts.append(_moments((n0[:, mine], d0[:, mine], n1[:, mine], d1[:, mine])))
    least, most = (min(n0.min(), n1.min()), max(n0.max(), n1.max())) if n0.size else (0.0, 0.0)
    scale = (2.0 if least < 0 < most else 1.0) if bounded else math.inf
    return _compare(_mean(parts), confidence, scale)


def clustered_wilson(
    numerator: Floats, denominator: Floats, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Wilson interval of a rate over clustered answers, on its effective sample size.

    The effective size is what would give a simple random sample the jackknife standard error over clusters
    (Korn & Graubard 1998, "Confidence intervals for proportions with small expected number of positive
    counts", with Wilson's interval in place of Clopper and Pearson's); the quantile is Student's, with as
    many degrees of freedom as the clusters and the spread of their contributions support. Where no answer or
    every answer counts, the spread between clusters is unknown and each cluster is taken as one observation.

    Args:
        numerator: Per-cluster counts of what the rate counts (..., clusters).
        denominator: Per-cluster counts of answers (..., clusters).
        confidence: Two-sided level.

    Returns:
        Lower and upper limits of shape (...); NaN with fewer than two clusters.
    """
    hits, total = np.asarray(numerator, float), np.asarray(denominator, float)
    used, answers = (total > 0).sum(axis=-1), total.sum(axis=-1)
    tail = 0.5 + confidence / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = hits.sum(axis=-1) / answers
        share = total / answers[..., None]
        square = _contributions(hits, total, share) ** 2
        variance = square.sum(axis=-1)
        supported = variance**2 / (square**2).sum(axis=-1)
        effective = np.minimum(rate * (1 - rate) / variance, answers)
        degrees = np.minimum(_degrees(share), supported)
    known = (rate > 0) & (rate < 1) & (variance > 0)
    effective = np.where(used >= 2, np.where(known, effective, used), 0.0)
    quantile = np.where(known, special.stdtrit(np.where(known, degrees, 1.0), tail), special.ndtri(tail))
    return score_interval(np.nan_to_num(rate) * effective, effective, quantile)


def _contributions(hits: Floats, total: Floats, share: Floats) -> Floats:
    """What each cluster adds to a rate, as leaving it out shows: the jackknife's (..., clusters)."""
    answers = total.sum(axis=-1, keepdims=True)
    residual = hits - hits.sum(axis=-1, keepdims=True) / answers * total
    return np.asarray(residual / answers / (1 - share))


def _degrees(share: Floats) -> Floats:
    """Satterthwaite's degrees of freedom for clusters that hold these shares of the answers (...,).

    Answers to one cluster are taken as wholly dependent, which asks for most; equal clusters give one less
    than there are.
    """
    square = share**2
    return np.asarray(square.sum(axis=-1) ** 2 / (square**2).sum(axis=-1) - 1)


def _moments(sums: Sums) -> _Moments:
    n0, d0, n1, d1 = sums
    used = (d0 > 0) | (d1 > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share0, share1 = (d / d.sum(axis=-1, keepdims=True) for d in (d0, d1))
        added = _contributions(n1, d1, share1) - _contributions(n0, d0, share0)
        share = (share0 + share1) / 2
        degrees = _degrees(share)
        square = added**2
        second = square.sum(axis=-1)
        return _Moments(
            value=n1.sum(axis=-1) / d1.sum(axis=-1) - n0.sum(axis=-1) / d0.sum(axis=-1),
            second=second,
            third=(square * added).sum(axis=-1),
            fourth=(square**2).sum(axis=-1),
            weight=(share**2).sum(axis=-1),
            freedom=second**2 / degrees,
            one=1 / np.minimum(d0.sum(axis=-1), d1.sum(axis=-1)),
            moved=((n0 != n1) | (d0 != d1)).sum(axis=-1).astype(float),
            clusters=used.sum(axis=-1).astype(float),
        )


def _mean(parts: list[_Moments]) -> _Moments:
    """The unweighted mean over strata, of those that have answers on both sides."""
    present = ~np.isnan(np.array([part.value for part in parts]))
    count = present.sum(axis=0)

    def stacked(name: str) -> Floats:
        return np.where(present, np.array([getattr(part, name) for part in parts]), 0.0)

    def mean(name: str, power: int) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(stacked(name).sum(axis=0) / count**power)

    return _Moments(
        value=mean("value", 1),
        second=mean("second", 2),
        third=mean("third", 3),
        fourth=mean("fourth", 4),
        weight=mean("weight", 2),
        freedom=mean("freedom", 4),
        one=stacked("one").max(axis=0) / np.maximum(count, 1),
        moved=stacked("moved").sum(axis=0),
        clusters=stacked("clusters").sum(axis=0),
    )


def _compare(total: _Moments, confidence: float, scale: float) -> Difference:
    value = total.value
    # Where all clusters change alike, the spread is that of one answer, known from that one only.
    even = total.second <= (_ROUNDING**2) * total.weight
    variance = np.where(even, total.one**2, total.second)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(even, 1.0, variance**2 / total.freedom)
        supported = np.where(even, 1.0, variance**2 / total.fourth)
        skewness = np.where(even, 1.0, total.third / np.sqrt(variance * total.fourth))
        # The third moment of n values is too small by about (n - 2) / n; the square allows for what a small
        # sample hides of a long tail.
        few = ((degrees + 1) / np.maximum(degrees - 1, 0.5)) ** 2
        slope = _SKEWNESS_FACTOR * np.where(even, total.one, few * total.third / variance)
    # A comparison of too few clusters, or one whose answers lie in a single cluster of a stratum.
    made = (total.clusters >= FEWEST_CLUSTERS) & np.isfinite(variance) & (degrees > 0)
    ends, p_values = [], []
    for side in (-1.0, 1.0):
        # On the side of the long tail the variance grows, and there the sample tells least of it: half of
        # Satterthwaite's degrees of freedom, reached where the skewness is half of the largest possible.
        tail = np.clip(2 * np.where(even, 1.0, side * skewness), 0.0, 1.0)
        grows = np.where(even, slope, np.maximum(side * slope, 0.0))
        freedom = np.minimum(degrees, 2 * supported - 1 - (supported - 1) * tail)
        freedom = np.where(made, freedom, 1.0)
        quantile = np.asarray(special.stdtrit(freedom, 0.5 + confidence / 2), np.float64)
        ends.append(value + side * _reach(quantile, variance, grows))
        # Zero lies on this side of the value, at this distance.
        distance = np.maximum(-side * value, 0.0)
        with np.errstate(invalid="ignore"):
            p_values.append(2 * special.stdtr(freedom, -distance / np.sqrt(variance + grows * distance)))
    least = np.exp2(1.0 - total.moved)
    p = np.minimum(np.maximum(np.minimum(*p_values), least), 1.0)
    # Swapping labels of few templates cannot exclude zero, so the interval does not either.
    held = least >= 1 - confidence
    low = np.where(held, np.minimum(ends[0], 0.0), ends[0])
    high = np.where(held, np.maximum(ends[1], 0.0), ends[1])
    shown = made & ~(even & (np.abs(value) < _ROUNDING))
    return Difference(
        value=value,
        standard_error=np.sqrt(total.second),
        low=np.where(shown, np.maximum(low, -scale), np.nan),
        high=np.where(shown, np.minimum(high, scale), np.nan),
        p_value=np.where(made, p, np.nan),
        clusters=total.clusters.astype(np.intp),
    )


def _reach(quantile: Floats, variance: Floats, grows: Floats) -> Floats:
    """How far the limit is: the larger root x of ``x ** 2 = quantile ** 2 * (variance + grows * x)``."""
    # Where one cluster holds nearly all answers the quantile is beyond all bounds, and so is the limit.
    with np.errstate(over="ignore"):
        half = quantile**2 * grows / 2
        return np.asarray(half + np.sqrt(half**2 + quantile**2 * variance))
