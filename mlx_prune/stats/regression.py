"""Logistic regression of the stereotyped answer on sparsity, category and method, one fit per model.

Answers that share all predictors are one binomial count, so millions of records are a few thousand rows
with the same coefficients and standard errors. Rows keep the question template apart, for standard errors
that allow the answers to one template to hang together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mlx_prune.stats.clustered import cluster_sums
from mlx_prune.stats.levels import NORMAL

Floats = NDArray[np.float64]

# Newton's method doubles the digits with each step, so that a step this small is the last that changes any.
_SMALL_STEP, _MOST_STEPS = 1e-9, 100


@dataclass(frozen=True)
class LogisticTerm:
    """One coefficient, in log odds; NaN where the data cannot tell it.

    Attributes:
        name: ``const``, ``sparsity`` (per percentage point), ``category_<name>`` or ``prune_method_<name>``.
        coefficient: Maximum-likelihood estimate.
        standard_error: With all answers independent, as in the study.
        p_value: Two-sided Wald test on it.
        low: Lower end of its 95 % interval.
        high: Upper end.
        clustered_standard_error: With answers to one question template dependent.
        clustered_p_value: Two-sided Wald test on that, against Student's t with as many degrees of freedom as
            the templates, or the spread of what they add to the coefficient, support.
    """

    name: str
    coefficient: float
    standard_error: float
    p_value: float
    low: float
    high: float
    clustered_standard_error: float
    clustered_p_value: float


@dataclass(frozen=True)
class LogisticFit:
    """A fitted model.

    Attributes:
        terms: In the order of the design; the alphabetically first category and the dense model are the
            baseline.
        answers: Understood answers it rests on.
        log_likelihood: Of the answers one by one.
        log_likelihood_null: Of a constant rate.
        left_out: Categories and methods without a finite effect: always or never stereotyped.
    """

    terms: tuple[LogisticTerm, ...]
    answers: int
    log_likelihood: float
    log_likelihood_null: float
    left_out: tuple[str, ...]

    @property
    def pseudo_r_squared(self) -> float:
        """McFadden's."""
        return 1.0 - self.log_likelihood / self.log_likelihood_null


@dataclass(frozen=True, eq=False)
class LogisticCounts:
    """Answers grouped by everything the regression looks at; all of one length.

    Attributes:
        stereotyped: Stereotyped answers.
        parsed: Understood answers.
        sparsity: In percent.
        category: Name.
        method: Name, with the pattern if there is one.
        template: Cluster number.
    """

    stereotyped: Floats
    parsed: Floats
    sparsity: Floats
    category: NDArray[np.str_]
    method: NDArray[np.str_]
    template: NDArray[np.intp]

    def where(self, keep: NDArray[np.bool_]) -> LogisticCounts:
        """Some of the rows."""
        return LogisticCounts(
            self.stereotyped[keep],
            self.parsed[keep],
            self.sparsity[keep],
            self.category[keep],
            self.method[keep],
            self.template[keep],
        )


def logistic_regression(counts: LogisticCounts) -> LogisticFit | None:
    """Fit ``stereotyped ~ sparsity + category + method`` by maximum likelihood.

    A predictor that the ones before it determine (the method, where one method was run at one sparsity) has
    NaN for a coefficient. A category or method whose answers are all alike has an infinite effect; its
    answers are left out, which changes no other coefficient.

    Returns:
        The fit, or None if the answers that are left are all alike.
    """
    counts, left_out = _without_separation(counts.where(counts.parsed > 0))
    if not len(counts.parsed):
        return None
    names, design = _design(counts)
    kept = _independent_columns(design)
    plain = _fit(design[:, kept], counts)
    errors, degrees = _clustered_errors(design[:, kept], counts, plain)
    place = {column: number for number, column in enumerate(kept)}
    terms = tuple(_term(name, place.get(column), plain, errors, degrees) for column, name in enumerate(names))
    total, hits = counts.parsed.sum(), counts.stereotyped.sum()
    null = np.full_like(counts.parsed, hits / total)
    return LogisticFit(
        terms,
        int(total),
        _log_likelihood(counts, _rates(design[:, kept], plain)),
        _log_likelihood(counts, null),
        left_out,
    )


def _without_separation(counts: LogisticCounts) -> tuple[LogisticCounts, tuple[str, ...]]:
    left_out: list[str] = []
    while True:
        drop = np.zeros(len(counts.parsed), bool)
        for labels in (counts.category, counts.method):
            for label in np.unique(labels):
                mine = labels == label
                hits = counts.stereotyped[mine].sum()
                if hits in (0, counts.parsed[mine].sum()):
                    drop |= mine
                    left_out.append(str(label))
        if not drop.any():
            return counts, tuple(left_out)
        counts = counts.where(~drop)


def _design(counts: LogisticCounts) -> tuple[list[str], Floats]:
    methods = sorted(set(counts.method.tolist()), key=lambda name: (name != "dense", name))
    categories = sorted(set(counts.category.tolist()))
    names, columns = ["const", "sparsity"], [np.ones(len(counts.parsed)), counts.sparsity]
    for prefix, labels, levels in (
        ("category", counts.category, categories),
        ("prune_method", counts.method, methods),
    ):
        names += [f"{prefix}_{level}" for level in levels[1:]]
        columns += [(labels == level).astype(float) for level in levels[1:]]
    return names, np.stack(columns, axis=1)


def _independent_columns(design: Floats) -> list[int]:
    # Templates repeat the predictors of their configuration and category.
    unit = np.unique(design, axis=0)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=0), 1e-300)
    kept: list[int] = []
    for column in range(design.shape[1]):
        if np.linalg.matrix_rank(unit[:, [*kept, column]], tol=1e-9) > len(kept):
            kept.append(column)
    return kept


@dataclass(frozen=True, eq=False)
class _Plain:
    """A fit that takes all answers as independent: coefficients (terms,) and covariance (terms, terms)."""

    params: Floats
    covariance: Floats


def _fit(design: Floats, counts: LogisticCounts) -> _Plain:
    """Newton's method, which for log odds is Fisher scoring (McCullagh & Nelder 1989, section 2.5).

    By hand, as statsmodels takes a second to import.
    """
    cells, cell = np.unique(design, axis=0, return_inverse=True)
    hits = np.bincount(cell.ravel(), counts.stereotyped)
    answers = np.bincount(cell.ravel(), counts.parsed)
    # Half an answer either way makes the first log odds finite.
    log_odds = special.logit((hits + 0.5) / (answers + 1))
    params: Floats = np.zeros(design.shape[1])
    for _ in range(_MOST_STEPS):
        rate = special.expit(log_odds)
        weight = answers * rate * (1 - rate)
        # Of what the margins do not separate a combination still may be, whose rates run away.
        covariance = np.asarray(np.linalg.pinv((cells.T * weight) @ cells, hermitian=True), np.float64)
        before, params = params, covariance @ (cells.T @ (weight * log_odds + hits - answers * rate))
        log_odds = cells @ params
        if np.abs(params - before).max() <= _SMALL_STEP * (1 + np.abs(params).max()):
            break
    return _Plain(params, covariance)


def _rates(design: Floats, fit: _Plain) -> Floats:
    return np.asarray(special.expit(design @ fit.params), np.float64)


def _clustered_errors(design: Floats, counts: LogisticCounts, fit: _Plain) -> tuple[Floats, Floats]:
    """Sandwich standard errors, with the usual correction for the number of clusters and coefficients.

    Beside them their degrees of freedom: Satterthwaite's, from what each cluster adds to the coefficient, at
    most one less than there are clusters.
    """
    residual = counts.stereotyped - counts.parsed * _rates(design, fit)
    clusters = int(counts.template.max()) + 1
    scores = cluster_sums((design * residual[:, None]).T, counts.template, clusters)
    used, answers, terms = len(np.unique(counts.template)), counts.parsed.sum(), design.shape[1]
    if used < 2:
        return np.full(terms, np.nan), np.full(terms, np.nan)
    bread = fit.covariance
    correction = used / (used - 1) * (answers - 1) / (answers - terms)
    square = (bread @ scores) ** 2
    variance = correction * square.sum(axis=1)
    # With fewer clusters than coefficients some directions have no spread between clusters at all.
    with np.errstate(invalid="ignore", divide="ignore"):
        supported = 2 * square.sum(axis=1) ** 2 / (square**2).sum(axis=1) - 1
    degrees = np.minimum(supported, used - 1)
    return np.asarray(np.sqrt(np.where(variance > 0, variance, np.nan)), np.float64), degrees


def _term(name: str, place: int | None, plain: _Plain, errors: Floats, degrees: Floats) -> LogisticTerm:
    if place is None:
        return LogisticTerm(name, *[math.nan] * 7)
    coefficient, error = float(plain.params[place]), float(errors[place])
    alone = math.sqrt(plain.covariance[place, place])
    return LogisticTerm(
        name=name,
        coefficient=coefficient,
        standard_error=alone,
        p_value=float(2 * special.ndtr(-abs(coefficient / alone))),
        low=coefficient - NORMAL * alone,
        high=coefficient + NORMAL * alone,
        clustered_standard_error=error,
        clustered_p_value=float(2 * special.stdtr(degrees[place], -abs(coefficient / error))),
    )


def _log_likelihood(counts: LogisticCounts, rate: Floats) -> float:
    misses = counts.parsed - counts.stereotyped
    return float((special.xlogy(counts.stereotyped, rate) + special.xlog1py(misses, -rate)).sum())
