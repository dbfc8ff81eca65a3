"""Published figures beside measured ones, for the configurations that a study shares with a publication."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from mlx_prune.configuration import Configuration
from mlx_prune.report.figures.panels import Tables, key_of, number
from mlx_prune.report.tables.table import Row, Table, Value, make_table, struck

DATA_FILE = "published.json"
# Figures with one published value per configuration: label, table, its column, factor to the printed unit.
_OVERALL = {
    "actual_sparsity": ("actual sparsity, %", "overall", "actual_sparsity", 1.0),
    "srs_overall": ("SRS, mean of categories", "overall", "srs", 1.0),
    "perplexity": ("perplexity", "overall", "perplexity", 1.0),
    "perplexity_change_percent": ("perplexity, change in %", "evaluation_gap", "ppl_pct_change", 1.0),
    "emergence_percent": ("emergence, %", "emergence", "observed", 100.0),
    "latency_s": ("latency of an answer, s", "latency", "latency_mean", 1.0),
}
_TESTS = "chi-square, as in the study"


@cache
def published() -> dict[str, Any]:
    """The published figures: ``source``, ``note``, ``rows`` and ``headline``."""
    text = files(__package__).joinpath(DATA_FILE).read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def published_table(tables: Tables) -> Table:
    """Reported and measured figures of the configurations that are in both; no rows if there are none.

    Models are matched by the last part of their name, whatever its case; methods and target sparsities
    exactly; a pattern never matches.
    """
    rows: list[dict[str, Value]] = []
    for entry in published()["rows"]:
        for name in dict.fromkeys(row["model"] for row in tables["overall"].rows):
            if str(name).rsplit("/", 1)[-1].lower() == entry["model"]:
                key = Configuration(str(name), entry["method"], float(entry["target_sparsity"]))
                rows += _configuration(tables, entry, key)
    rows += _headline(tables) if _whole_grid(tables) else []
    return make_table(
        "published",
        "Reported and measured",
        f"Reported: {published()['source']}. {published()['note']} Measured here under this study's own "
        "settings; the published models were pruned and questioned by other code.",
        rows,
        ("model", "prune_method", "sparsity", "figure", "reported", "measured", "difference"),
    )


def _configuration(tables: Tables, entry: dict[str, Any], key: Configuration) -> Iterator[dict[str, Value]]:
    about: dict[str, Value] = {"model": key.model, "prune_method": key.prune_method, "sparsity": key.sparsity}
    for name, (label, table, column, factor) in _OVERALL.items():
        row = _find(tables[table].rows, key)
        if name in entry and row is not None:
            yield about | _pair(label, entry[name], _comparable(row, column), factor)
    for category, reported in entry.get("srs_by_category", {}).items():
        row = _find(tables["rates"].where(category=category).rows, key)
        if row is not None:
            yield about | _pair(f"SRS, {category.replace('_', ' ')}", reported, _comparable(row, "srs"), 1.0)


def _find(rows: tuple[Row, ...], key: Configuration) -> Row | None:
    return next((row for row in rows if key_of(row) == key), None)


def _comparable(row: Row, column: str) -> Value:
    """A figure to set beside a published one; None where too few answers are behind it."""
    return None if struck(row, column) else row[column]


def _pair(label: str, reported: float, value: Value, factor: float) -> dict[str, Value]:
    found = number(value)
    measured = None if found is None else found * factor
    difference = None if measured is None else measured - reported
    return {"figure": label, "reported": float(reported), "measured": measured, "difference": difference}


def _whole_grid(tables: Tables) -> bool:
    """Whether the study has exactly the publication's comparisons, so that its counts can be set beside."""
    reported = {entry["claim"]: entry["reported"] for entry in published()["headline"]}
    made = {row["test"]: row["comparisons"] for row in tables["test_summary"].rows}
    models = {str(row["model"]).rsplit("/", 1)[-1].lower() for row in tables["overall"].rows}
    known = {entry["model"] for entry in published()["rows"]}
    return made.get(_TESTS) == reported["dense-vs-pruned comparisons"] and models == known


def _headline(tables: Tables) -> Iterator[dict[str, Value]]:
    summary = next(row for row in tables["test_summary"].rows if row["test"] == _TESTS)
    measured = {
        "answers recorded": sum(int(number(row["n"]) or 0) for row in tables["overall"].rows),
        "dense-vs-pruned comparisons": summary["comparisons"],
        "of these significant at p < 0.05": summary["significant"],
        "mean |Cohen's h|": summary["mean_abs_cohens_h"],
    }
    for entry in published()["headline"]:
        about: dict[str, Value] = {"model": "all", "prune_method": "all", "sparsity": None}
        yield about | _pair(entry["claim"], entry["reported"], measured[entry["claim"]], 1.0)
