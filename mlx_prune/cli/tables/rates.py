"""Rates per category, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlx_prune import words
from mlx_prune.cli.terminal.table import FittedTable, simple_table

if TYPE_CHECKING:
    from mlx_prune.cli.terminal.table import Cell
    from mlx_prune.stats.rates import Rates


def rate_cell(text: str, *, struck: bool) -> Cell:
    """A rate for a table; one of too few answers in brackets and struck out, for terminals that can."""
    if not struck or text == "-":
        return text
    from rich.text import Text

    return Text(f"({text})", style="dim strike")


def struck_note(floor: float) -> str:
    """What a struck-out rate means."""
    return (
        f"In brackets, struck out: less than {words.percent(floor, None)} answered; such a rate says nothing."
    )


ANSWERED_NOTE = "answered: share of answers understood, by one of the first three parsing rules."


def ambiguous_table(rates: Rates, floor: float) -> FittedTable:
    """SRS, USR and anti rate per category in ambiguous contexts."""
    table = simple_table(
        "Ambiguous contexts",
        ["category"],
        ["items", "answered", "SRS", "95 % CI", "USR", "anti", "SRS-anti"],
    )
    for row in (*rates.categories, rates.overall):
        if row is rates.overall:
            table.add_section()
        found = (
            words.fixed(row.srs),
            words.interval(row.srs_low, row.srs_high, between="-"),
            words.fixed(row.usr),
            words.fixed(row.anti_rate),
            words.signed(row.bbq_ambiguous_score),
        )
        table.add_row(
            row.category,
            f"{row.n_items:,}",
            words.percent(row.answered),
            *(rate_cell(text, struck=row.too_few(floor)) for text in found),
        )
    return table


def disambiguated_table(rates: Rates, floor: float) -> FittedTable:
    """Accuracy and BBQ's own score per category in disambiguated contexts."""
    table = simple_table(
        "Disambiguated contexts", ["category"], ["items", "answered", "accuracy", "BBQ score"]
    )
    for row in (*rates.categories, rates.overall):
        if row is rates.overall:
            table.add_section()
        found = (words.fixed(row.accuracy), words.signed(row.bbq_disambiguated_score))
        table.add_row(
            row.category,
            f"{row.disambig_items:,}",
            words.percent(row.disambig_answered),
            *(rate_cell(text, struck=row.disambig_too_few(floor)) for text in found),
        )
    return table


def strict_line(rates: Rates) -> str:
    """The overall rates read strictly, as one line; empty where the fourth rule decided nothing."""
    overall = rates.overall
    if not overall.rules["first_character"]:
        return ""
    return (
        f"Read strictly, without the first a, b or c anywhere: SRS {words.fixed(overall.strict_srs)}, USR "
        f"{words.fixed(overall.strict_usr)}, anti {words.fixed(overall.strict_anti_rate)}, of "
        f"{overall.n_answered:,} of {overall.n_answers:,} answers."
    )


def rules_line(rates: Rates) -> str:
    """How often each parsing rule decided, as one line."""
    counts = {
        rule: rates.overall.rules.get(rule, 0) + rates.overall.disambig_rules.get(rule, 0)
        for rule in {**rates.overall.rules, **rates.overall.disambig_rules}
    }
    total = sum(counts.values())
    shares = ", ".join(
        f"{rule.replace('_', ' ')} {words.percent(n / total)}" for rule, n in counts.items() if n
    )
    return f"Answers parsed by: {shares}."
