"""The study's tests: chi-square per category, and logistic regression per model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlx_prune.labels import DENSE
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import category_sums, compared, number_or_nan, rated
from mlx_prune.report.tables.table import Table, Value, make_table
from mlx_prune.stats.clustered import cluster_sums
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.outcomes import STEREOTYPED, Outcomes
from mlx_prune.stats.rates import OVERALL
from mlx_prune.stats.regression import LogisticCounts, logistic_regression
from mlx_prune.stats.tests import benjamini_hochberg, chi_square


def chi_square_table(data: StudyData) -> Table:
    """Each pruned configuration against dense, by category: chi-square with Yates's correction, Cohen's h."""
    # Imported here: it takes a second.
    from statsmodels.stats.proportion import proportion_effectsize

    rows: list[dict[str, Value]] = []
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
        size = proportion_effectsize(rates, rates[:1])
        for number, configuration in enumerate(outcomes.configurations):
            if configuration.prune_method == DENSE:
                continue
            for place, category in enumerate(outcomes.categories):
                p = float(exact.p_value[number, place])
                found: dict[str, Value] = {
                    "chi2": float(exact.statistic[number, place]),
                    "p_value": p,
                    "cohens_h": float(size[number, place]),
                    "significant": p < SIGNIFICANCE,
                    "chi2_study": float(lossy.statistic[number, place]),
                    "p_value_study": float(lossy.p_value[number, place]),
                }
                rows.append(
                    rated(data, configuration, category)
                    | {"srs_dense": float(rates[0, place]), "srs": float(rates[number, place])}
                    | compared(data, configuration, category, found)
                )
    adjusted = benjamini_hochberg([number_or_nan(row["p_value"]) for row in rows])
    for row, q in zip(rows, adjusted, strict=True):
        row["q_value"] = float(q)
    return make_table(
        "tests",
        "Chi-square tests, as in the study",
        "All answers taken as independent, so p-values are too small; `paired_tests` has the ones to trust. "
        "chi2_study and p_value_study use counts truncated as the study's script does; q_value is adjusted "
        "after Benjamini and Hochberg. Nothing is tested where too few answers were understood.",
        rows,
        ("model", "prune_method", "category"),
    )


def _truncated(rates: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.trunc(np.nan_to_num(rates * answers))


def summary_table(tests: Table, paired: Table) -> Table:
    """How many of the comparisons are significant, by each way of testing."""
    rows: list[dict[str, Value]] = []
    by_category = [row for row in paired.rows if row["category"] != OVERALL]
    for name, table_rows, column in (
        ("chi-square, as in the study", tests.rows, "p_value"),
        ("chi-square, adjusted", tests.rows, "q_value"),
        ("clustered by template", by_category, "p_clustered"),
        ("clustered by template, adjusted", by_category, "q_clustered"),
        ("McNemar by item", by_category, "p_mcnemar"),
        ("McNemar by item, adjusted", by_category, "q_mcnemar"),
        ("clustered, expected SRS", by_category, "p_expected"),
        ("clustered, expected SRS, adjusted", by_category, "q_expected"),
    ):
        values = [p for row in table_rows if not math.isnan(p := number_or_nan(row[column]))]
        found = sum(p < SIGNIFICANCE for p in values)
        if values:
            share = found / len(values)
            rows.append({"test": name, "comparisons": len(values), "significant": found, "share": share})
    sizes = [abs(h) for row in tests.rows if not math.isnan(h := number_or_nan(row["cohens_h"]))]
    for row in rows:
        row["mean_abs_cohens_h"] = sum(sizes) / len(sizes) if sizes else math.nan
    return make_table(
        "test_summary",
        "How many comparisons are significant",
        "Dense against pruned, per model, category and configuration, at 0.05; adjusted after Benjamini and "
        "Hochberg.",
        rows,
        ("test", "comparisons", "significant"),
    )


def logistic_table(data: StudyData) -> Table:
    """Logistic regression per model: stereotyped ~ sparsity + category + method."""
    rows: list[dict[str, Value]] = []
    for model, outcomes in data.models.items():
        target = np.array([configuration.sparsity for configuration in outcomes.configurations])
        actual = np.array([number_or_nan(data.actual_sparsity(c)) for c in outcomes.configurations])
        axes = {"target": target} | ({} if np.isnan(actual).any() else {"actual": actual})
        for axis, sparsity in axes.items():
            fit = logistic_regression(_logistic_counts(data, outcomes, sparsity))
            for term in fit.terms if fit else ():
                rows.append(
                    {
                        "model": model,
                        "sparsity_axis": axis,
                        "term": term.name,
                        "coefficient": term.coefficient,
                        "standard_error": term.standard_error,
                        "p_value": term.p_value,
                        "ci_low": term.low,
                        "ci_high": term.high,
                        "odds_ratio": math.exp(term.coefficient),
                        "clustered_standard_error": term.clustered_standard_error,
                        "clustered_p_value": term.clustered_p_value,
                        "answers": fit.answers if fit else 0,
                        "pseudo_r_squared": fit.pseudo_r_squared if fit else math.nan,
                        "left_out": ", ".join(fit.left_out) if fit else "",
                    }
                )
    return make_table(
        "logistic",
        "Logistic regression of the stereotyped answer",
        "Log odds; sparsity per percentage point, target as in the study and actual beside it; baseline the "
        "dense model and the first category. Clustered: standard errors that allow answers to one question "
        "template to hang together. Answers of a configuration or category of which too few were understood "
        "are left out.",
        rows,
        ("model", "term"),
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
