"""The study's tests: chi-square per category, and logistic regression per model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.change import PairedTest
from mlx_prune.report.tables.rows import (
    ByCategory,
    Rated,
    adjusted,
    category_sums,
    compared,
    number_or_nan,
    rated,
)
from mlx_prune.report.tables.table import About, Row, Table, column
from mlx_prune.stats.clustered import cluster_sums
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.outcomes import STEREOTYPED, Outcomes
from mlx_prune.stats.rates import OVERALL
from mlx_prune.stats.regression import LogisticCounts, logistic_regression
from mlx_prune.stats.tests import chi_square


@dataclass(frozen=True, kw_only=True)
class ChiSquare(Rated, ByCategory):
    """A comparison with dense that takes answers as independent."""

    about = About(
        "tests",
        "Chi-square tests, as in the study",
        "All answers taken as independent, so p-values are too small; `paired_tests` has the ones to trust. "
        "chi2_study and p_value_study use counts truncated as the study's script does; q_value is adjusted "
        "after Benjamini and Hochberg. Nothing is tested where too few answers were understood.",
    )

    srs_dense: float | None = column("srs of the dense model")
    srs: float | None
    chi2: float | None = column("chi-square with Yates's correction")
    p_value: float | None
    cohens_h: float | None = column("Cohen's h, the size of the change")
    significant: bool | None = column("whether p_value is below 0.05")
    chi2_study: float | None = column("chi2 with counts truncated as the study's script does")
    p_value_study: float | None = column("its p-value")
    q_value: float | None = column("p_value, adjusted after Benjamini and Hochberg", default=None)

    @classmethod
    def of_study(cls, data: StudyData) -> list[ChiSquare]:
        """Each pruned configuration against dense, by category: chi-square with Yates's correction."""
        rows = []
        for outcomes in data.models.values():
            if outcomes.dense is None:
                continue
            hits = category_sums(outcomes.counts(STEREOTYPED), outcomes)
            answers = category_sums(outcomes.parsed(), outcomes)
            with np.errstate(invalid="ignore"):
                rates = hits / answers
            exact = chi_square(hits[:1], answers[:1], hits, answers)
            # The study's script turns rates back into counts by truncation, which can lose one.
            lossy = chi_square(
                _truncated(rates[:1], answers[:1]), answers[:1], _truncated(rates, answers), answers
            )
            # Cohen's h (Cohen 1988, section 6.2), for which statsmodels would take a second to import.
            angles = 2 * np.arcsin(np.sqrt(rates))
            size = angles - angles[:1]
            for number, configuration in enumerate(outcomes.configurations):
                if configuration.is_dense:
                    continue
                for place, category in enumerate(outcomes.categories):
                    p = exact.p_value[number, place]
                    found = compared(
                        data,
                        configuration,
                        category,
                        chi2=exact.statistic[number, place],
                        p_value=p,
                        cohens_h=size[number, place],
                        significant=p < SIGNIFICANCE,
                        chi2_study=lossy.statistic[number, place],
                        p_value_study=lossy.p_value[number, place],
                    )
                    row = ChiSquare(
                        **rated(data, configuration, category),
                        srs_dense=rates[0, place],
                        srs=rates[number, place],
                        **found,
                    )
                    rows.append(row)
        return adjusted(rows, "p_value", "q_value")


def _truncated(rates: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.trunc(np.nan_to_num(rates * answers))


@dataclass(frozen=True, kw_only=True)
class TestSummary(Row):
    """How many comparisons one way of testing finds significant."""

    about = About(
        "test_summary",
        "How many comparisons are significant",
        "Dense against pruned, per model, category and configuration, at 0.05; adjusted after Benjamini and "
        "Hochberg.",
    )

    test: str = column("how it was tested")
    comparisons: int = column("how many there are")
    significant: int = column("how many of them have p (or q) below 0.05")
    share: float = column("the second of the first")
    mean_abs_cohens_h: float | None = column("mean size of the changes, Cohen's h without its sign")

    @classmethod
    def of_tables(cls, tests: Table[ChiSquare], paired: Table[PairedTest]) -> Iterator[TestSummary]:
        """How many of the comparisons are significant, by each way of testing."""
        by_category = [row for row in paired.rows if row.category != OVERALL]
        sizes = [abs(row.cohens_h) for row in tests.rows if row.cohens_h is not None]
        for name, p_values in (
            ("chi-square, as in the study", [row.p_value for row in tests.rows]),
            ("chi-square, adjusted", [row.q_value for row in tests.rows]),
            ("clustered by template", [row.p_clustered for row in by_category]),
            ("clustered by template, adjusted", [row.q_clustered for row in by_category]),
            ("McNemar by item", [row.p_mcnemar for row in by_category]),
            ("McNemar by item, adjusted", [row.q_mcnemar for row in by_category]),
            ("clustered, expected SRS", [row.p_expected for row in by_category]),
            ("clustered, expected SRS, adjusted", [row.q_expected for row in by_category]),
        ):
            known = [p for p in p_values if p is not None]
            found = sum(p < SIGNIFICANCE for p in known)
            if known:
                yield TestSummary(
                    test=name,
                    comparisons=len(known),
                    significant=found,
                    share=found / len(known),
                    mean_abs_cohens_h=sum(sizes) / len(sizes) if sizes else None,
                )


@dataclass(frozen=True, kw_only=True)
class LogisticRow(Row):
    """One coefficient of one model's regression."""

    about = About(
        "logistic",
        "Logistic regression of the stereotyped answer",
        "Log odds; sparsity per percentage point, target as in the study and actual beside it; baseline the "
        "dense model and the first category. Clustered: standard errors that allow answers to one question "
        "template to hang together. Answers of a configuration or category of which too few were understood "
        "are left out.",
    )

    model: str
    sparsity_axis: str = column("whether sparsity is the target or the actual one")
    term: str = column("which coefficient")
    coefficient: float | None = column("log odds; of sparsity, per percentage point")
    standard_error: float | None = column("of the coefficient, answers taken as independent")
    p_value: float | None
    ci_low: float | None = column("lower end of the coefficient's 95 % interval")
    ci_high: float | None = column("upper end of it")
    odds_ratio: float | None = column("the coefficient's exponential")
    clustered_standard_error: float | None = column("answers to one template kept together")
    clustered_p_value: float | None = column("p_value by the clustered standard error")
    answers: int = column("answers that the regression rests on")
    pseudo_r_squared: float | None = column("McFadden's, of the whole regression")
    left_out: str = column("categories and methods whose answers are all alike, which are left out")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[LogisticRow]:
        """Logistic regression per model: stereotyped ~ sparsity + category + method."""
        for model, outcomes in data.models.items():
            target = np.array([configuration.sparsity for configuration in outcomes.configurations])
            actual = np.array([number_or_nan(data.actual_sparsity(c)) for c in outcomes.configurations])
            axes = {"target": target} | ({} if np.isnan(actual).any() else {"actual": actual})
            for axis, sparsity in axes.items():
                fit = logistic_regression(_logistic_counts(data, outcomes, sparsity))
                if fit is None:
                    continue
                for term in fit.terms:
                    yield LogisticRow(
                        model=model,
                        sparsity_axis=axis,
                        term=term.name,
                        coefficient=term.coefficient,
                        standard_error=term.standard_error,
                        p_value=term.p_value,
                        ci_low=term.low,
                        ci_high=term.high,
                        odds_ratio=math.exp(term.coefficient),
                        clustered_standard_error=term.clustered_standard_error,
                        clustered_p_value=term.clustered_p_value,
                        answers=fit.answers,
                        pseudo_r_squared=fit.pseudo_r_squared,
                        left_out=", ".join(fit.left_out),
                    )


def _logistic_counts(data: StudyData, outcomes: Outcomes, sparsity: NDArray[np.float64]) -> LogisticCounts:
    """One row per configuration and template; no answers count where too few were understood."""
    templates = int(outcomes.template.max()) + 1
    category = outcomes.template_category
    methods = np.array([f"{c.prune_method} {c.pattern or ''}".strip() for c in outcomes.configurations])
    count = len(outcomes.configurations)
    usable = [
        [data.compared(c, OVERALL) and data.compared(c, name) for name in outcomes.categories]
        for c in outcomes.configurations
    ]
    counted = np.array(usable)[:, category]
    return LogisticCounts(
        (cluster_sums(outcomes.counts(STEREOTYPED), outcomes.template, templates) * counted).ravel(),
        (cluster_sums(outcomes.parsed(), outcomes.template, templates) * counted).ravel(),
        np.repeat(sparsity, templates),
        np.tile(np.array(outcomes.categories)[category], count),
        np.repeat(methods, templates),
        np.tile(np.arange(templates), count),
    )
