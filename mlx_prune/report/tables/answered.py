"""Tables of what the other tables leave out or depend on: unfinished runs, and answers read off by guess."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.report.figures.panels import key_of
from mlx_prune.report.tables.rows import compared, interval, key, number_or_nan, rated
from mlx_prune.report.tables.table import Row, Table, Value, make_table
from mlx_prune.stats.compare import overall_changes
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.outcomes import STEREOTYPED
from mlx_prune.stats.rates import OVERALL
from mlx_prune.stats.tests import benjamini_hochberg

_STRICT_CHANGE = ("srs_delta_strict", "srs_delta_strict_low", "srs_delta_strict_high", "p_strict")
RAISED, LOWERED, WITHIN_CHANCE = "raised", "lowered", "within chance"


def progress_table(data: StudyData) -> Table:
    """How far every configuration is."""
    rows: list[Row] = [
        {
            "model": state.configuration.model,
            "prune_method": state.configuration.prune_method,
            "pattern": state.configuration.pattern,
            "sparsity": state.configuration.sparsity,
            "state": state.state,
            "answers": state.answers,
            "expected": state.expected,
        }
        for state in data.states
    ]
    return make_table(
        "progress",
        "How far the study is",
        "Configurations that are not complete are in no other table.",
        rows,
        ("model", "prune_method", "state"),
    )


def parse_sensitivity_table(data: StudyData, paired: Table) -> Table:
    """Overall rates and their change from dense, by all four parsing rules and by the first three.

    Args:
        data: The study.
        paired: Its table ``paired_tests``, which reads by all four.
    """
    change = {key_of(row): row for row in paired.where(category=OVERALL).rows}
    strict = _strict_changes(data, change)
    rows: list[dict[str, Value]] = []
    for run in data.runs:
        name, overall = run.configuration, run.rates.overall
        row = rated(data, name)
        place = key_of(row)
        for rate in ("srs", "usr", "anti_rate"):
            row |= {rate: getattr(overall, rate), f"{rate}_strict": getattr(overall, f"strict_{rate}")}
        found = change.get(place, {})
        row |= {"srs_delta": found.get("srs_delta"), "q_clustered": found.get("q_clustered")}
        row |= strict.get(place, dict.fromkeys(_STRICT_CHANGE))
        rows.append(row)
    # The family that the overall rows of paired_tests are, read strictly.
    adjusted = benjamini_hochberg([number_or_nan(row["p_strict"]) for row in rows])
    for row, q in zip(rows, adjusted, strict=True):
        row["q_strict"] = float(q)
        row["verdict"] = verdict(row["srs_delta"], row["q_clustered"])
        row["verdict_strict"] = verdict(row["srs_delta_strict"], row["q_strict"])
        known = row["verdict"] is not None and row["verdict_strict"] is not None
        row["verdict_changes"] = row["verdict"] != row["verdict_strict"] if known else None
    return make_table(
        "parse_sensitivity",
        "Rates read strictly",
        "The study's four rules beside the first three alone (_strict), which take an answer as not parsed "
        "that was read off as the first a, b or c anywhere. Change of the overall SRS from dense, paired and "
        "clustered by template as in `paired_tests`, and whether its verdict is another.",
        rows,
        ("model", "prune_method"),
    )


def _strict_changes(
    data: StudyData, change: Mapping[Configuration, Row]
) -> dict[Configuration, dict[str, Value]]:
    """Change of SRS of every compressed configuration, read strictly."""
    found: dict[Configuration, dict[str, Value]] = {}
    for outcomes in data.paired:
        strict = outcomes.strict()
        changes = None
        if strict is not outcomes:
            hits, answers = strict.counts(STEREOTYPED), strict.parsed()
            changes = overall_changes(strict, hits, answers)
        for number, name in enumerate(outcomes.configurations[1:]):
            place = key_of(key(data, name))
            if changes is None:
                # No answer was guessed at, so that the strict reading is the other one.
                row = change[place]
                same = (
                    row[column] for column in ("srs_delta", "srs_delta_low", "srs_delta_high", "p_clustered")
                )
                found[place] = dict(zip(_STRICT_CHANGE, same, strict=True))
                continue
            columns = interval(changes[number], "srs_delta_strict")
            columns |= {"p_strict": changes[number].p_value}
            found[place] = compared(data, name, OVERALL, columns)
    return found


def verdict(change: Value, q: Value) -> str | None:
    """Whether a change of SRS is beyond chance, and which way; None where it was not tested."""
    delta, level = number_or_nan(change), number_or_nan(q)
    if math.isnan(delta) or math.isnan(level):
        return None
    if level >= SIGNIFICANCE:
        return WITHIN_CHANCE
    return RAISED if delta > 0 else LOWERED
