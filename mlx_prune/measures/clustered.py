"""Intervals and tests that respect how BBQ items hang together.

Five answers to one item are not five items, and the dozens of items made from one question template are not
dozens of questions. The templates are what was sampled, so sums per template are what is resampled here.
Dense and pruned answers to the same template stay together, which makes every comparison a paired one.

The interval is the bootstrap-t: each resample is judged by its own cluster-robust standard error. With the 25
to 50 templates of a BBQ category and rates near zero it keeps its level where percentile intervals, and
plus or minus two standard errors, are too narrow (Cameron, Gelbach & Miller 2008, "Bootstrap-based
improvements for inference with clustered errors").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlx_prune.measures.intervals import wilson

Floats = NDArray[np.float64]

REPLICATES = 9999


@dataclass(frozen=True, eq=False)
class Difference:
    """Difference of two paired rates, and how sure it is. Arrays of one shape, one entry per comparison.

    Attributes:
        value: Second rate minus the first.
        standard_error: Cluster-robust.
        low: Lower end of the confidence interval, at least -1; NaN where there are fewer than two clusters.
        high: Upper end, at most 1.
        p_value: Two-sided, of no difference; 1 where no cluster differs at all.
        clusters: Templates the comparison rests on.
    """

    value: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    p_value: Floats
    clusters: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Replicates:
    value: Floats
    variance: Floats
    values: Floats
    variances: Floats
    clusters: int


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
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Difference:
    """Compare two rates, each a ratio of sums over the same clusters.

    With strata (BBQ categories) each rate is the unweighted mean of the strata's rates, clusters are
    resampled within their stratum, and a comparison that lacks a stratum's denominator on either side
    leaves it out.

    Args:
        numerator0: Per-cluster sums of the first rate's numerator (comparisons, clusters); any of the four
            may have a single row for all comparisons.
        denominator0: Likewise of its denominator.
        numerator1: Likewise of the second rate's numerator.
        denominator1: Likewise of its denominator.
        stratum: Stratum number of each cluster (clusters,); None for a single one.
        confidence: Two-sided level.
        replicates: Bootstrap resamples; the smallest p-value possible is ``2 / (replicates + 1)``.
        seed: Of the resampling; the same sums give the same interval.
    """
    # One dense row for all comparisons stays one row: its sums are resampled once.
    n0, d0, n1, d1 = (
        np.atleast_2d(np.asarray(x, float)) for x in (numerator0, denominator0, numerator1, denominator1)
    )
    groups = np.zeros(n0.shape[1], np.intp) if stratum is None else stratum
    parts = []
    for number in np.unique(groups):
        mine = groups == number
        sums = (n0[:, mine], d0[:, mine], n1[:, mine], d1[:, mine])
        parts.append(_resample(sums, replicates, seed, int(number)))
    return _combine(parts, confidence, replicates)


def clustered_wilson(
    numerator: Floats, denominator: Floats, *, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Wilson interval of a rate over clustered answers, on its effective sample size.

    The effective size is what would give a simple random sample the cluster-robust standard error, reduced
    for the degrees of freedom that few clusters leave (Korn & Graubard 1998, with Wilson's interval in
    place of Clopper and Pearson's). Where no answer or every answer counts, the spread between clusters is
    unknown and each cluster is taken as one observation.

    Args:
        numerator: Per-cluster counts of what the rate counts (..., clusters).
        denominator: Per-cluster counts of answers (..., clusters).
        confidence: Two-sided level.

    Returns:
        Lower and upper limits of shape (...); NaN with fewer than two clusters.
    """
    hits, total = np.asarray(numerator, float), np.asarray(denominator, float)
    used = (total > 0).sum(axis=-1)
    answers = total.sum(axis=-1)
    tail = 0.5 + confidence / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = hits.sum(axis=-1) / answers
        residual = hits - rate[..., None] * total
        variance = used / (used - 1) * (residual**2).sum(axis=-1) / answers**2
        shrink = (stats.norm.ppf(tail) / stats.t.ppf(tail, np.maximum(used - 1, 1))) ** 2
        effective = rate * (1 - rate) / variance * shrink
    inside = (rate > 0) & (rate < 1)
    effective = np.where(inside & (variance > 0), np.minimum(effective, answers), used)
    effective = np.where(used >= 2, effective, 0.0)
    return wilson(np.nan_to_num(rate) * effective, effective, confidence)


@lru_cache(maxsize=16)
def _weights(clusters: int, replicates: int, seed: int, stratum: int) -> Floats:
    # The stratum is part of the key: strata of one size must not be resampled in step.
    drawn = np.random.default_rng([seed, stratum]).integers(0, clusters, (replicates, clusters))
    flat = drawn + np.arange(replicates)[:, None] * clusters
    counts = np.bincount(flat.ravel(), minlength=replicates * clusters)
    weights = counts.reshape(replicates, clusters).astype(np.float64)
    weights.flags.writeable = False
    return weights


def _resample(
    sums: tuple[Floats, Floats, Floats, Floats], replicates: int, seed: int, stratum: int
) -> _Replicates:
    """Estimates and variances of the sample (comparisons,) and of its resamples (replicates, comparisons)."""
    used = (sums[1] > 0).any(axis=0) | (sums[3] > 0).any(axis=0)
    n0, d0, n1, d1 = (x[:, used] for x in sums)
    clusters = int(used.sum())
    value, variance = _ratio_difference(np.ones((1, clusters)), n0, d0, n1, d1)
    if clusters < 2:
        empty = np.full((replicates, value.shape[1]), np.nan)
        return _Replicates(value[0], empty[0], empty, empty, clusters)
    values, variances = _ratio_difference(_weights(clusters, replicates, seed, stratum), n0, d0, n1, d1)
    return _Replicates(value[0], variance[0], values, variances, clusters)


def _ratio_difference(
    weights: Floats, n0: Floats, d0: Floats, n1: Floats, d1: Floats
) -> tuple[Floats, Floats]:
    """Weighted difference of ratios and its cluster-robust variance, both (replicates, comparisons).

    The variance is that of the linearized difference, a weighted sum over clusters of
    ``((n1 - r1 d1) / D1 - (n0 - r0 d0) / D0) ** 2``, expanded so that all resamples are matrix products.
    """
    vectors = (n1, d1, n0, d0)
    pairs = [(i, j) for i in range(4) for j in range(i + 1)]
    columns = [*vectors, *(vectors[i] * vectors[j] for i, j in pairs)]
    # One matrix product for all of them.
    summed = weights @ np.concatenate(columns).T
    sums = np.split(summed, np.cumsum([len(column) for column in columns])[:-1], axis=1)
    products = dict(zip(pairs, sums[4:], strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate1, rate0 = sums[0] / sums[1], sums[2] / sums[3]
        factors = (1 / sums[1], -rate1 / sums[1], -1 / sums[3], rate0 / sums[3])
        variance = np.zeros(1)
        for (i, j), product in products.items():
            variance = variance + (1 if i == j else 2) * factors[i] * factors[j] * product
        # What cancels leaves rounding noise of either sign, which a studentized bootstrap would divide by.
        size1, size0 = products[0, 0] + products[1, 1], products[2, 2] + products[3, 3]
        noise = 1e-12 * (factors[0] ** 2 * size1 + factors[2] ** 2 * size0)
    clusters = weights.shape[1]
    scale = clusters / (clusters - 1) if clusters > 1 else np.nan
    return rate1 - rate0, np.where(variance > noise, variance * scale, 0.0 * variance)


def _combine(parts: list[_Replicates], confidence: float, replicates: int) -> Difference:
    present = np.array([~np.isnan(part.value) for part in parts])
    count = present.sum(axis=0)

    def mean(arrays: list[Floats], power: int) -> Floats:
        stacked = np.array(arrays)
        keep = present if stacked.ndim == 2 else present[:, None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(keep, stacked, 0.0).sum(axis=0) / count**power)

    value = mean([part.value for part in parts], 1)
    error = np.sqrt(mean([part.variance for part in parts], 2))
    values = mean([part.values for part in parts], 1)
    errors = np.sqrt(mean([part.variances for part in parts], 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (values - value) / errors
        observed = value / error
    # A resample in which nothing varies says nothing if it agrees with the sample, and all if it does not.
    t = np.where((errors == 0) & np.isclose(values, value, rtol=0, atol=1e-12), 0.0, t)
    # A resample without any answer says nothing either.
    t = np.where(np.isnan(t), 0.0, t)
    # Where few clusters moved, many resamples differ from the sample without any spread: an infinite t, which
    # would make the limit the end of the scale. The largest finite one takes its place in the interval.
    largest = np.where(np.isfinite(t), np.abs(t), 0.0).max(axis=0)
    bounded = np.clip(t, -largest, largest)
    levels = [(1 - confidence) / 2, (1 + confidence) / 2]
    low_t, high_t = np.quantile(bounded, levels, axis=0, method="nearest")
    above = (t >= observed).sum(axis=0)
    below = (t <= observed).sum(axis=0)
    p = np.minimum(2.0 * (1 + np.minimum(above, below)) / (replicates + 1), 1.0)
    made = ~np.isnan(error) & (count > 0)
    flat = made & (error == 0)
    clusters = (present * np.array([part.clusters for part in parts])[:, None]).sum(axis=0)
    # No p-value below what swapping the labels of whole clusters at random could give.
    p = np.maximum(np.where(flat, 0.0, p), np.exp2(1.0 - clusters))
    with np.errstate(invalid="ignore"):
        low = np.where(flat, value, np.clip(value - high_t * error, -1, 1))
        high = np.where(flat, value, np.clip(value - low_t * error, -1, 1))
    return Difference(
        value=value,
        standard_error=error,
        low=np.where(made, low, np.nan),
        high=np.where(made, high, np.nan),
        p_value=np.where(made, np.where(flat & (value == 0), 1.0, p), np.nan),
        clusters=clusters,
    )
