"""Tables of what pruning changed, with the intervals and tests that the published study lacks."""

from __future__ import annotations

import math

import numpy as np

from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import (
    OVERALL,
    Floats,
    compared,
    differences,
    interval,
    number_or_nan,
    rated,
)
from mlx_prune.report.tables.table import Table, Value, make_table
from mlx_prune.stats.clustered import Difference, cluster_sums, paired_difference
from mlx_prune.stats.emergence import (
    LETTER_MASS_NEEDED,
    fresh_emergence,
    held_out_emergence,
    letter_mass,
)
from mlx_prune.stats.expected import expected_counts
from mlx_prune.stats.outcomes import ANTI, OUTCOMES, STEREOTYPED, UNKNOWN, UNPARSED, Outcomes
from mlx_prune.stats.tests import McNemar, benjamini_hochberg, mcnemar
from mlx_prune.stats.transitions import answer_transitions, item_transitions


def paired_test_table(data: StudyData) -> Table:
    """Every pruned configuration against dense, paired by item and clustered by question template."""
    rows: list[dict[str, Value]] = []
    for outcomes in comparable(data):
        change = differences(outcomes, outcomes.counts(STEREOTYPED), outcomes.parsed())
        expected = expected_counts(outcomes)
        expected_change = differences(outcomes, expected.stereotyped, expected.letters)
        for name, difference in change.items():
            flips = _mcnemar(outcomes, name)
            for number, configuration in enumerate(outcomes.configurations[1:]):
                found = (
                    interval(difference, number, "srs_delta")
                    | {"clusters": int(difference.clusters[number])}
                    | {"p_clustered": float(difference.p_value[number])}
                    | {"items_up": int(flips.up[number]), "items_down": int(flips.down[number])}
                    | {"p_mcnemar": float(flips.p_value[number])}
                    | interval(expected_change[name], number, "expected_srs_delta")
                    | {"p_expected": float(expected_change[name].p_value[number])}
                )
                rows.append(rated(data, configuration, name) | compared(data, configuration, name, found))
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
    for outcomes in comparable(data):
        stereotyped, anti = outcomes.counts(STEREOTYPED), outcomes.counts(ANTI)
        parsed = outcomes.parsed()
        abstention = differences(outcomes, -0.5 * outcomes.counts(UNKNOWN), parsed)
        direction = differences(outcomes, 0.5 * (stereotyped - anti), parsed)
        for name, lost in abstention.items():
            for number, configuration in enumerate(outcomes.configurations[1:]):
                directional = direction[name]
                found: dict[str, Value] = (
                    {"srs_delta": float(lost.value[number] + directional.value[number])}
                    | interval(lost, number, "abstention_part")
                    | interval(directional, number, "direction_part")
                    | {"p_direction": float(directional.p_value[number])}
                    | {"bias_score_delta": 2 * float(directional.value[number])}
                )
                rows.append(rated(data, configuration, name) | compared(data, configuration, name, found))
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
    for outcomes in comparable(data):
        observed = item_transitions(outcomes)
        fresh, held = fresh_emergence(outcomes), held_out_emergence(outcomes)
        mass = letter_mass(outcomes)
        excess = _pooled(outcomes, fresh.expected, fresh.unbiased)
        held_excess = _pooled(outcomes, held.stereotyped, held.eligible)
        null, expected = _shares(fresh.expected, fresh.unbiased)
        before, after = _shares(held.stereotyped, held.eligible)
        unbiased, became = (part.sum(axis=1) for part in observed[:2])
        for number, configuration in enumerate(outcomes.configurations[1:]):
            predictable = min(mass[0], mass[number + 1]) >= LETTER_MASS_NEEDED
            fresh_columns = {
                "null": float(null[number]),
                "expected": float(expected[number]),
                **interval(excess, number, "excess"),
                "p_excess": float(excess.p_value[number]),
            }
            observations: dict[str, Value] = {
                "unbiased_items": int(unbiased[number + 1]),
                "observed": float(became[number + 1] / max(unbiased[number + 1], 1)),
                "letter_mass": float(mass[number + 1]),
            }
            found = (
                {name: value if predictable else math.nan for name, value in fresh_columns.items()}
                | {"held_out_null": float(before[number]), "held_out": float(after[number])}
                | interval(held_excess, number, "held_out_excess")
                | {"p_held_out": float(held_excess.p_value[number])}
            )
            rows.append(
                rated(data, configuration) | observations | compared(data, configuration, OVERALL, found)
            )
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


def answer_transition_table(data: StudyData) -> Table:
    """What became of the dense answers, paired by item and seed."""
    rows: list[dict[str, Value]] = []
    for outcomes in comparable(data):
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


def comparable(data: StudyData) -> list[Outcomes]:
    """Models with a dense and at least one pruned configuration."""
    return [o for o in data.models.values() if o.dense is not None and len(o.configurations) > 1]


def _mcnemar(outcomes: Outcomes, category: str) -> McNemar:
    parsed = outcomes.parsed()
    majority = 2 * outcomes.counts(STEREOTYPED) > parsed
    usable = (parsed[:1] > 0) & (parsed[1:] > 0)
    if category != OVERALL:
        usable &= outcomes.category == outcomes.categories.index(category)
    return mcnemar(majority[:1], majority[1:], usable)


def _adjust(rows: list[dict[str, Value]], p_name: str, q_name: str) -> None:
    """Add adjusted p-values: categories are one family, the overall rows another."""
    for overall in (False, True):
        family = [row for row in rows if (row["category"] == OVERALL) == overall]
        adjusted = benjamini_hochberg([number_or_nan(row[p_name]) for row in family])
        for row, q in zip(family, adjusted, strict=True):
            row[q_name] = float(q)


def _pooled(outcomes: Outcomes, numerator: Floats, denominator: Floats) -> Difference:
    """Change of a rate pooled over categories, on the items that count for each pruned configuration.

    The dense side of a comparison is restricted to the items that the pruned configuration was asked.
    """
    templates = int(outcomes.template.max()) + 1
    asked = denominator[1:] > 0

    def sums(values: Floats) -> Floats:
        return cluster_sums(values, outcomes.template, templates)

    return paired_difference(
        sums(numerator[:1] * asked), sums(denominator[:1] * asked), sums(numerator[1:]), sums(denominator[1:])
    )


def _shares(numerator: Floats, denominator: Floats) -> tuple[Floats, Floats]:
    """Pooled share before and after, on the items that count for each pruned configuration."""
    asked = denominator[1:] > 0
    with np.errstate(invalid="ignore"):
        before = (numerator[:1] * asked).sum(axis=1) / (denominator[:1] * asked).sum(axis=1)
        after = numerator[1:].sum(axis=1) / denominator[1:].sum(axis=1)
    return before, after
