"""Tables of what pruning changed, with the intervals and tests that the published study lacks."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import compared, interval, number_or_nan, rated
from mlx_prune.report.tables.table import Table, Value, make_table
from mlx_prune.stats.compare import Excess, SrsChange
from mlx_prune.stats.outcomes import OUTCOMES, UNPARSED
from mlx_prune.stats.rates import OVERALL
from mlx_prune.stats.tests import benjamini_hochberg
from mlx_prune.stats.transitions import answer_transitions


def paired_test_table(data: StudyData) -> Table:
    """Every pruned configuration against dense, paired by item and clustered by question template."""
    rows: list[dict[str, Value]] = []
    for configuration, scope, change in _changes(data):
        found = (
            interval(change.srs, "srs_delta")
            | {"clusters": change.srs.templates, "p_clustered": change.srs.p_value}
            | {"items_up": change.items_up, "items_down": change.items_down, "p_mcnemar": change.p_items}
            | interval(change.expected, "expected_srs_delta")
            | {"p_expected": change.expected.p_value}
        )
        rows.append(rated(data, configuration, scope) | compared(data, configuration, scope, found))
    for test in ("clustered", "mcnemar", "expected"):
        _adjust(rows, f"p_{test}", f"q_{test}")
    return make_table(
        "paired_tests",
        "Change of SRS, tested as paired",
        "srs_delta with a 95 % interval over question templates, left out where none can be had (fewer than "
        "6 templates, or no change in any); McNemar's exact test on items whose majority of understood "
        "answers is stereotyped; expected_srs_delta from option probabilities, "
        "free of sampling noise. q is adjusted after Benjamini and Hochberg over all models, categories and "
        "configurations (the rows `overall` are a family of their own). Nothing is compared where too few "
        "answers were understood, of the dense model or of the other.",
        rows,
        ("model", "prune_method", "category"),
    )


def direction_table(data: StudyData) -> Table:
    """The change of SRS split into lost abstention and direction."""
    rows: list[dict[str, Value]] = []
    for configuration, scope, change in _changes(data):
        lost, direction = change.abstention, change.direction
        found: dict[str, Value] = (
            {"srs_delta": lost.value + direction.value}
            | interval(lost, "abstention_part")
            | interval(direction, "direction_part")
            | {"p_direction": direction.p_value, "bias_score_delta": 2 * direction.value}
        )
        rows.append(rated(data, configuration, scope) | compared(data, configuration, scope, found))
    _adjust(rows, "p_direction", "q_direction")
    return make_table(
        "direction",
        "Lost abstention and directional bias",
        "SRS = (1 - USR) / 2 + (SRS - anti rate) / 2. A model that stops abstaining and picks a person by "
        "lot raises SRS through the first part alone; the second is directional bias, half of BBQ's score.",
        rows,
        ("model", "prune_method", "category"),
    )


def emergence_table(data: StudyData) -> Table:
    """Emergence after pruning against what the dense model does when it is asked again."""
    rows: list[dict[str, Value]] = []
    for comparison in (one for model in data.comparisons for one in model):
        emergence, configuration = comparison.emergence, comparison.configuration
        observed = {
            "unbiased_items": emergence.unbiased_items,
            "observed": emergence.observed,
            "letter_mass": emergence.letter_mass,
        }
        found = _excess(emergence.fresh, ("null", "expected", "excess", "p_excess"))
        names = ("held_out_null", "held_out", "held_out_excess", "p_held_out")
        found |= _excess(emergence.held_out, names)
        rows.append(rated(data, configuration) | observed | compared(data, configuration, OVERALL, found))
    return make_table(
        "emergence",
        "Emergence against its own null",
        "Shares of the items without a stereotyped dense answer. observed: with one after pruning, under the "
        "same noise. null and expected: with at least one among fresh answers of the dense and of the pruned "
        "model, from option probabilities (left out where answers do not start with a letter). held_out_null "
        "and held_out: stereotyped answers under one seed to items without one under the others. Excess: "
        "pruned minus dense, with a 95 % interval over question templates.",
        rows,
        ("model", "prune_method"),
    )


def _changes(data: StudyData) -> Iterator[tuple[Configuration, str, SrsChange]]:
    """Every change of SRS, category by category."""
    for comparisons in data.comparisons:
        for scope in comparisons[0].changes:
            for one in comparisons:
                yield one.configuration, scope, one.changes[scope]


def _excess(excess: Excess | None, names: tuple[str, str, str, str]) -> dict[str, Value]:
    """Columns of the dense share, the share, their difference with its interval, and the p-value."""
    null, share, change, p_value = names
    if excess is None:
        return dict.fromkeys((null, share, change, f"{change}_low", f"{change}_high", p_value))
    return (
        {null: excess.null, share: excess.share}
        | interval(excess.change, change)
        | {p_value: excess.change.p_value}
    )


def answer_transition_table(data: StudyData) -> Table:
    """What became of the dense answers, paired by item and seed."""
    rows: list[dict[str, Value]] = []
    for outcomes in data.paired:
        counts = answer_transitions(outcomes)
        for number, configuration in enumerate(outcomes.configurations[1:], start=1):
            for before in range(UNPARSED, len(OUTCOMES)):
                total = int(counts[number, before, UNPARSED:].sum())
                for after in range(UNPARSED, len(OUTCOMES)):
                    count = int(counts[number, before, after])
                    share = count / total if total else math.nan
                    names: dict[str, Value] = {"dense": OUTCOMES[before], "pruned": OUTCOMES[after]}
                    rows.append(rated(data, configuration) | names | {"answers": count, "share": share})
    return make_table(
        "answer_transitions",
        "What became of the dense answers",
        "Answers to the same item under the same seed; share is of the dense outcome.",
        rows,
        ("model", "prune_method"),
    )


def _adjust(rows: list[dict[str, Value]], p_name: str, q_name: str) -> None:
    """Add adjusted p-values: categories are one family, the overall rows another."""
    for overall in (False, True):
        family = [row for row in rows if (row["category"] == OVERALL) == overall]
        adjusted = benjamini_hochberg([number_or_nan(row[p_name]) for row in family])
        for row, q in zip(family, adjusted, strict=True):
            row[q_name] = float(q)
