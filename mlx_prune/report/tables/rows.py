"""What the rows of most tables begin with, and the per-category sums they are computed from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.table import Value
from mlx_prune.stats.clustered import Difference, cluster_sums, paired_difference
from mlx_prune.stats.outcomes import Outcomes

Floats = NDArray[np.float64]

OVERALL = "overall"


def key(data: StudyData, configuration: Configuration) -> dict[str, Value]:
    """The columns that name a configuration; its actual sparsity stands beside the target."""
    return {
        "model": configuration.model,
        "prune_method": configuration.prune_method,
        "pattern": configuration.pattern,
        "sparsity": configuration.sparsity,
        "actual_sparsity": data.actual_sparsity(configuration),
    }


def rated(data: StudyData, configuration: Configuration, category: str | None = None) -> dict[str, Value]:
    """The key of a row of rates, its category, and how many of the answers behind it were understood.

    Args:
        data: The study.
        configuration: Whose rates.
        category: Of what; None for rates over all categories in a table that has no others.
    """
    rates = data.rates(configuration, category or OVERALL)
    return (
        key(data, configuration)
        | ({} if category is None else {"category": category})
        | {"answered": math.nan if rates is None else rates.answered}
        | {"too_few_answered": rates is not None and rates.too_few(data.min_answered)}
    )


def compared(
    data: StudyData, configuration: Configuration, category: str, columns: Mapping[str, Value]
) -> dict[str, Value]:
    """Columns of a comparison with dense; all None where the answers of either were hardly understood."""
    known = data.compared(configuration, category)
    return {name: value if known else None for name, value in columns.items()}


def percent_change(after: float, before: float) -> float:
    """Relative change in percent; NaN from zero."""
    return (after - before) / before * 100 if before else float("nan")


def category_sums(counts: NDArray[Any], outcomes: Outcomes) -> NDArray[np.float64]:
    """Sums over the items of each category: (configurations, items) to (configurations, categories)."""
    return cluster_sums(counts, outcomes.category, len(outcomes.categories))


def template_categories(outcomes: Outcomes) -> NDArray[np.intp]:
    """Category of each question template (templates,)."""
    categories = np.zeros(int(outcomes.template.max()) + 1, np.intp)
    categories[outcomes.template] = outcomes.category
    return categories


def number_or_nan(value: Value) -> float:
    """A cell as a number; NaN for None."""
    return float(value) if isinstance(value, int | float) else float("nan")


def differences(
    outcomes: Outcomes, numerator: NDArray[Any], denominator: NDArray[Any]
) -> dict[str, Difference]:
    """Change of a rate from dense to each pruned configuration, clustered by template.

    Args:
        outcomes: One model's answers, dense first.
        numerator: (configurations, items).
        denominator: (configurations, items).

    Returns:
        Per category, and for :data:`OVERALL` (unweighted mean of the categories), one entry per configuration
        after the first.
    """
    top, bottom, stratum = _template_sums(outcomes, numerator, denominator)
    found = {}
    for number, name in enumerate(outcomes.categories):
        mine = stratum == number
        found[name] = paired_difference(top[:1, mine], bottom[:1, mine], top[1:, mine], bottom[1:, mine])
    found[OVERALL] = paired_difference(top[:1], bottom[:1], top[1:], bottom[1:], stratum)
    return found


def overall_difference(
    outcomes: Outcomes, numerator: NDArray[Any], denominator: NDArray[Any], confidence: float
) -> Difference:
    """The entry :data:`OVERALL` of :func:`differences` alone, with intervals of another level."""
    top, bottom, stratum = _template_sums(outcomes, numerator, denominator)
    return paired_difference(top[:1], bottom[:1], top[1:], bottom[1:], stratum, confidence=confidence)


def _template_sums(
    outcomes: Outcomes, numerator: NDArray[Any], denominator: NDArray[Any]
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Both summed per template (configurations, templates), and each template's category."""
    templates = int(outcomes.template.max()) + 1
    top, bottom = (cluster_sums(sums, outcomes.template, templates) for sums in (numerator, denominator))
    return top, bottom, template_categories(outcomes)


def interval(difference: Difference, number: int, name: str) -> dict[str, Value]:
    """Columns ``name``, ``name_low`` and ``name_high`` of one comparison."""
    return {
        name: float(difference.value[number]),
        f"{name}_low": float(difference.low[number]),
        f"{name}_high": float(difference.high[number]),
    }
