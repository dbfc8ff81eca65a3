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
from mlx_prune.stats.clustered import cluster_sums
from mlx_prune.stats.compare import Change
from mlx_prune.stats.outcomes import Outcomes
from mlx_prune.stats.rates import OVERALL

Floats = NDArray[np.float64]


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


def number_or_nan(value: Value) -> float:
    """A cell as a number; NaN for None."""
    return float(value) if isinstance(value, int | float) else float("nan")


def interval(change: Change, name: str) -> dict[str, Value]:
    """Columns ``name``, ``name_low`` and ``name_high`` of one comparison."""
    return {name: change.value, f"{name}_low": change.low, f"{name}_high": change.high}
