"""What the rows of most tables begin with, and the per-category sums they are computed from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.table import Interval, Row
from mlx_prune.stats.clustered import cluster_sums
from mlx_prune.stats.outcomes import Outcomes
from mlx_prune.stats.rates import OVERALL
from mlx_prune.stats.tests import benjamini_hochberg

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Named(Row):
    """A row about one configuration."""

    configuration: Configuration


@dataclass(frozen=True, kw_only=True)
class Configured(Named):
    """Its actual sparsity stands beside the target."""

    actual_sparsity: float | None


@dataclass(frozen=True, kw_only=True)
class ByCategory(Configured):
    """A row about one configuration in one category, or overall."""

    category: str


@dataclass(frozen=True, kw_only=True)
class Rated(Configured):
    """A row of rates, with how many of the answers behind it were understood."""

    answered: float | None
    too_few_answered: bool


N = TypeVar("N", bound=Named)


def by_model(rows: Iterable[N]) -> dict[str, list[N]]:
    """Rows by the short name of the dense model, in order of appearance."""
    found: dict[str, list[N]] = {}
    for row in rows:
        found.setdefault(row.configuration.model, []).append(row)
    return found


def configured(data: StudyData, configuration: Configuration) -> dict[str, Any]:
    """The fields of :class:`Configured`."""
    return {"configuration": configuration, "actual_sparsity": data.actual_sparsity(configuration)}


def rated(data: StudyData, configuration: Configuration, category: str | None = None) -> dict[str, Any]:
    """The fields of :class:`Rated`, and of :class:`ByCategory` where a category is given.

    Args:
        data: The study.
        configuration: Whose rates.
        category: Of what; None for rates over all categories in a table that has no others.
    """
    rates = data.rates(configuration, category or OVERALL)
    return (
        configured(data, configuration)
        | ({} if category is None else {"category": category})
        | {"answered": None if rates is None else rates.answered}
        | {"too_few_answered": rates is not None and rates.too_few(data.min_answered)}
    )


def compared(data: StudyData, configuration: Configuration, category: str, **fields: Any) -> dict[str, Any]:
    """Fields of a comparison with dense; all empty where the answers of either were hardly understood."""
    if data.compared(configuration, category):
        return fields
    return {name: Interval() if isinstance(value, Interval) else None for name, value in fields.items()}


def adjusted(rows: Sequence[R], p: str, q: str) -> list[R]:
    """Rows with the p-values of one field adjusted into another, all of them one family."""
    found = benjamini_hochberg([getattr(row, p) for row in rows])
    return [replace(row, **{q: value}) for row, value in zip(rows, found, strict=True)]


def percent_change(after: float, before: float) -> float:
    """Relative change in percent; NaN from zero."""
    return (after - before) / before * 100 if before else math.nan


def category_sums(counts: NDArray[Any], outcomes: Outcomes) -> NDArray[np.float64]:
    """Sums over the items of each category: (configurations, items) to (configurations, categories)."""
    return cluster_sums(counts, outcomes.category, len(outcomes.categories))


def number_or_nan(value: float | None) -> float:
    """A cell as a number; NaN for None."""
    return math.nan if value is None else float(value)
