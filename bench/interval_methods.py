"""Intervals of a change and of a rate: this project's and their peers, for ``coverage.py``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from made_up_benchmarks import Drawn
from numpy.typing import NDArray
from scipy import stats

from mlx_prune.stats.clustered import clustered_wilson, paired_difference
from mlx_prune.stats.rates import wilson

Floats = NDArray[np.float64]
Intervals = tuple[Floats, Floats, Floats]
REPLICATES = 399


def ours(drawn: Drawn) -> Intervals:
    """This project's intervals and p-values."""
    n = drawn.answers
    found = paired_difference(drawn.before, n, drawn.after, n, drawn.category)
    return found.low, found.high, found.p_value


def student(drawn: Drawn) -> Intervals:
    """Student's t over templates, one degree of freedom less than templates per category."""
    value, error = _estimate(np.ones((1, drawn.before.shape[1])), drawn)
    freedom = drawn.before.shape[1] - drawn.category[-1] - 1
    reach = stats.t.ppf(0.975, freedom) * error[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(value[0]) / error[0], freedom)
    return value[0] - reach, value[0] + reach, p


def bootstrap_t(drawn: Drawn) -> Intervals:
    """Templates resampled within their category, each resample judged by its own standard error."""
    rng = np.random.default_rng(0)
    parts = []
    for number in range(drawn.category[-1] + 1):
        templates = int((drawn.category == number).sum())
        taken = rng.integers(0, templates, (REPLICATES, templates))
        parts.append((taken[..., None] == np.arange(templates)).sum(axis=1))
    value, error = (part[0] for part in _estimate(np.ones((1, drawn.before.shape[1])), drawn))
    values, errors = _estimate(np.concatenate(parts, axis=1).astype(float), drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, observed = (values - value) / errors, value / error
    t = np.where(np.isnan(t) | ((errors == 0) & np.isclose(values, value)), 0.0, t)
    most = np.where(np.isfinite(t), np.abs(t), 0.0).max(axis=0)
    low, high = np.quantile(np.clip(t, -most, most), [0.025, 0.975], axis=0, method="nearest")
    less = np.minimum((t >= observed).sum(axis=0), (t <= observed).sum(axis=0))
    p = np.minimum(2 * (1 + less) / (REPLICATES + 1), 1)
    return value - high * error, value - low * error, np.where(error == 0, 1.0, p)


def _estimate(weights: Floats, drawn: Drawn) -> tuple[Floats, Floats]:
    """Change and its standard error (resamples, repetitions), templates weighted (resamples, templates)."""
    values, variances = [], []
    for number in range(drawn.category[-1] + 1):
        mine = drawn.category == number
        weight, change, n = weights[:, mine], (drawn.after - drawn.before)[:, mine], drawn.answers[:, mine]
        total = weight @ n.T
        value = weight @ change.T / total
        squares = weight @ (change**2).T - 2 * value * (weight @ (change * n).T)
        squares += value**2 * (weight @ (n**2).T)
        many = mine.sum()
        values.append(value)
        variances.append(np.maximum(squares, 0) / total**2 * many / (many - 1))
    return np.mean(values, axis=0), np.sqrt(np.sum(variances, axis=0)) / len(values)


METHODS: dict[str, Callable[[Drawn], Intervals]] = {
    "ours": ours,
    "Student's t": student,
    "bootstrap-t": bootstrap_t,
}


def wilson_with_design_effect(hits: Floats, answers: Floats) -> tuple[Floats, Floats]:
    """The effective sample size of Korn and Graubard in Wilson's interval."""
    templates, total = hits.shape[1], answers.sum(axis=1)
    rate = hits.sum(axis=1) / total
    variance = ((hits - rate[:, None] * answers) ** 2).sum(axis=1) / total**2 * templates / (templates - 1)
    shrink = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, templates - 1)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.minimum(rate * (1 - rate) / variance * shrink, total)
    size = np.where(variance > 0, size, templates)
    return wilson(rate * size, size)


RATES = {"ours": clustered_wilson, "Wilson with a design effect": wilson_with_design_effect}
