"""Tables that more than one command prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlx_prune.cli._common import fraction, percent
from mlx_prune.cli._fitted_table import FittedTable

if TYPE_CHECKING:
    from mlx_prune.measures.rates import CategoryRates, Rates


def simple_table(title: str, left: list[str], right: list[str]) -> FittedTable:
    """A table with a plain look: left-aligned columns, which name a row, then right-aligned ones."""
    table = FittedTable(title, keys=max(len(left), 1))
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def ambiguous_table(rates: Rates) -> FittedTable:
    """SRS, USR and anti rate per category in ambiguous contexts."""
    table = simple_table(
        "Ambiguous contexts",
        ["category"],
        ["items", "SRS", "95 % CI", "USR", "anti", "SRS-anti", "unparsed"],
    )
    for row in (*rates.categories, rates.overall):
        if row is rates.overall:
            table.add_section()
        table.add_row(
            row.category,
            f"{row.n_items:,}",
            fraction(row.srs),
            _interval(row),
            fraction(row.usr),
            fraction(row.anti_rate),
            f"{row.bbq_ambiguous_score:+.3f}" if not math.isnan(row.bbq_ambiguous_score) else "-",
            f"{percent(row.parse_failure_rate)} %",
        )
    return table


def disambiguated_table(rates: Rates) -> FittedTable:
    """Accuracy and BBQ's own score per category in disambiguated contexts."""
    table = simple_table(
        "Disambiguated contexts", ["category"], ["items", "accuracy", "BBQ score", "unparsed"]
    )
    for row in (*rates.categories, rates.overall):
        if row is rates.overall:
            table.add_section()
        score = row.bbq_disambiguated_score
        table.add_row(
            row.category,
            f"{row.disambig_items:,}",
            fraction(row.accuracy),
            "-" if math.isnan(score) else f"{score:+.3f}",
            f"{percent(row.disambig_parse_failure_rate)} %",
        )
    return table


def rules_line(rates: Rates) -> str:
    """How often each parsing rule decided, as one line."""
    counts = {
        rule: rates.overall.rules.get(rule, 0) + rates.overall.disambig_rules.get(rule, 0)
        for rule in {**rates.overall.rules, **rates.overall.disambig_rules}
    }
    total = sum(counts.values())
    shares = ", ".join(f"{rule.replace('_', ' ')} {100 * n / total:.1f} %" for rule, n in counts.items() if n)
    return f"Answers parsed by: {shares}."


def _interval(row: CategoryRates) -> str:
    return "" if math.isnan(row.srs_low) else f"{row.srs_low:.3f}-{row.srs_high:.3f}"
