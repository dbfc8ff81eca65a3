"""Published figures beside measured ones, for the configurations that a study shares with a publication."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol, TypeVar

from mlx_prune.configuration import Configuration
from mlx_prune.report.tables.change import Emergence
from mlx_prune.report.tables.latency import Latency
from mlx_prune.report.tables.model import TestSummary
from mlx_prune.report.tables.rates import Overall, Rate
from mlx_prune.report.tables.rows import Named
from mlx_prune.report.tables.study import EvaluationGap
from mlx_prune.report.tables.table import About, Row, Table, column

DATA_FILE = "published.json"
_TESTS = "chi-square, as in the study"
N = TypeVar("N", bound=Named)


@cache
def published() -> dict[str, Any]:
    """The published figures: ``source``, ``note``, ``rows``, ``headline`` and ``items_changing``."""
    text = files(__package__).joinpath(DATA_FILE).read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


class _Measured(Protocol):
    """The tables of a report that hold what was published."""

    @property
    def rates(self) -> Table[Rate]: ...
    @property
    def overall(self) -> Table[Overall]: ...
    @property
    def evaluation_gap(self) -> Table[EvaluationGap]: ...
    @property
    def emergence(self) -> Table[Emergence]: ...
    @property
    def latency(self) -> Table[Latency]: ...
    @property
    def test_summary(self) -> Table[TestSummary]: ...


@dataclass(frozen=True, kw_only=True)
class Published(Row):
    """One figure, as a publication reports it and as it was measured."""

    about = About(
        "published",
        "Reported and measured",
        f"Reported: {published()['source']}. {published()['note']} Measured here under this study's own "
        "settings; the published models were pruned and questioned by other code.",
    )

    model: str
    prune_method: str
    sparsity: float | None
    figure: str = column("which figure, with its unit")
    reported: float = column("as it was published")
    measured: float | None = column("as this study found it")
    difference: float | None = column("measured minus reported")

    @classmethod
    def of_tables(cls, tables: _Measured) -> Iterator[Published]:
        """Reported and measured figures of the configurations that are in both; no rows if there are none.

        Models are matched by the last part of their name, whatever its case; methods and target sparsities
        exactly; a pattern never matches.
        """
        for entry in published()["rows"]:
            for model in dict.fromkeys(row.configuration.model for row in tables.overall.rows):
                if _short(model) == entry["model"]:
                    name = Configuration(model, entry["method"], float(entry["target_sparsity"]))
                    yield from _of_configuration(tables, entry, name)
        summary = _whole_grid(tables)
        if summary is not None:
            yield from _headline(tables, summary)


def _of_configuration(
    tables: _Measured, entry: Mapping[str, Any], name: Configuration
) -> Iterator[Published]:
    def beside(figure: str, reported: float, measured: float | None) -> Published:
        return _beside(name.model, name.prune_method, name.sparsity, figure, reported, measured)

    for key, (figure, measured) in _single_figures(tables, name).items():
        if key in entry:
            yield beside(figure, entry[key], measured)
    for category, reported in entry.get("srs_by_category", {}).items():
        for row in tables.rates.rows:
            if row.configuration == name and row.category == category:
                # A rate of too few answers is none to set beside a published one.
                srs = None if row.too_few_answered else row.srs
                yield beside(f"SRS, {category.replace('_', ' ')}", reported, srs)


def _single_figures(tables: _Measured, name: Configuration) -> dict[str, tuple[str, float | None]]:
    """Figures with one published value per configuration: label and measured value, where there is one."""
    found: dict[str, tuple[str, float | None]] = {}

    def add(key: str, figure: str, table: Table[N], value: Callable[[N], float | None]) -> None:
        row = next((row for row in table.rows if row.configuration == name), None)
        if row is not None:
            found[key] = (figure, value(row))

    add("actual_sparsity", "actual sparsity, %", tables.overall, lambda row: row.actual_sparsity)
    add(
        "srs_overall",
        "SRS, mean of categories",
        tables.overall,
        lambda row: None if row.too_few_answered else row.srs,
    )
    add("perplexity", "perplexity", tables.overall, lambda row: row.perplexity)
    add(
        "perplexity_change_percent",
        "perplexity, change in %",
        tables.evaluation_gap,
        lambda row: row.ppl_pct_change,
    )
    add(
        "emergence_percent",
        "emergence, %",
        tables.emergence,
        lambda row: None if row.too_few_answered or row.observed is None else 100 * row.observed,
    )
    add("latency_s", "latency of an answer, s", tables.latency, lambda row: row.latency_mean)
    return found


def _beside(
    model: str, method: str, sparsity: float | None, figure: str, reported: float, measured: float | None
) -> Published:
    return Published(
        model=model,
        prune_method=method,
        sparsity=sparsity,
        figure=figure,
        reported=reported,
        measured=measured,
        difference=None if measured is None else measured - reported,
    )


def _whole_grid(tables: _Measured) -> TestSummary | None:
    """How many tests are significant, if the study has exactly the publication's comparisons; else None."""
    reported = {entry["claim"]: entry["reported"] for entry in published()["headline"]}
    made = {row.test: row for row in tables.test_summary.rows}.get(_TESTS)
    models = {_short(row.configuration.model) for row in tables.overall.rows}
    known = {entry["model"] for entry in published()["rows"]}
    whole = made is not None and made.comparisons == reported["dense-vs-pruned comparisons"]
    return made if whole and models == known else None


def _headline(tables: _Measured, summary: TestSummary) -> Iterator[Published]:
    measured = {
        "answers recorded": sum(row.n for row in tables.overall.rows),
        "dense-vs-pruned comparisons": summary.comparisons,
        "of these significant at p < 0.05": summary.significant,
        "mean |Cohen's h|": summary.mean_abs_cohens_h,
    }
    for entry in published()["headline"]:
        yield _beside("all", "all", None, entry["claim"], entry["reported"], measured[entry["claim"]])


def _short(model: str) -> str:
    return model.rsplit("/", 1)[-1].lower()
