"""Sentences about what rates rest on: complete runs, answers that were understood, and how they were read."""

from __future__ import annotations

from mlx_prune import words
from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.report.tables.answered import ParseSensitivity, RunProgress
from mlx_prune.report.tables.build import Tables
from mlx_prune.runs.folder import COMPLETE
from mlx_prune.study.states import NOT_BEGUN

# Longer lists are cut; the tables have all.
_MOST_NAMES = 6
# A difference that is written as none is none.
_NO_DIFFERENCE = 0.0005


def floor_of(tables: Tables) -> float:
    """Share of answers that must be understood for a rate of this report to be compared."""
    rows = tables.parse_failures.rows
    return rows[0].min_answered if rows else MIN_ANSWERED


def unfinished_sentence(tables: Tables) -> str:
    """How many configurations are not finished, and that the report leaves them out; empty if none."""
    rows = tables.progress.rows
    left = [row for row in rows if row.state != COMPLETE]
    if not left:
        return ""
    states = [f"{row.configuration.full_name}: {_state(row)}" for row in left]
    one = len(left) == 1
    return (
        f"Unfinished: {len(left)} of {len(rows)} configurations {'is' if one else 'are'} left out of "
        f"everything below ({'; '.join(words.first_of(states, _MOST_NAMES))}). Run the study again to finish "
        f"{'it' if one else 'them'}."
    )


def _state(row: RunProgress) -> str:
    if row.state == NOT_BEGUN:
        return NOT_BEGUN
    if row.expected:
        return f"{row.answers:,} of {row.expected:,} answers"
    return f"{row.answers:,} answers so far"


def silent_sentences(tables: Tables) -> list[str]:
    """Which models hardly answer, so that their rates are struck out; nothing where all do."""
    silent = {row.configuration: row.answered for row in tables.overall.rows if row.too_few_answered}
    shares = {name: words.some_percent(share or 0.0) for name, share in silent.items()}
    dense = [f"{name.model} ({share})" for name, share in shares.items() if name.is_dense]
    compressed = [f"{name.full_name} ({share})" for name, share in shares.items() if not name.is_dense]
    floor, said = words.some_percent(floor_of(tables)), []
    if dense:
        said.append(
            f"Fewer than {floor} of the dense model's own answers were understood, of "
            f"{words.names(dense, most=_MOST_NAMES)}; nothing is compared with it."
        )
    if compressed:
        one = len(compressed) == 1
        said.append(
            f"{words.names(compressed, most=_MOST_NAMES)} no longer {'answers' if one else 'answer'}: fewer "
            f"than {floor} of {'its' if one else 'their'} answers were understood, so "
            f"{'its' if one else 'their'} rates are struck out and not compared."
        )
    cells = [
        f"{row.category.replace('_', ' ')} of {row.configuration.full_name}"
        for row in tables.rates.rows
        if row.too_few_answered and row.configuration not in silent
    ]
    if cells:
        rates = "rate is" if len(cells) == 1 else "rates are"
        said.append(
            f"By category, {len(cells)} further {rates} struck out for the same reason: "
            f"{words.names(cells, most=_MOST_NAMES)}."
        )
    return said


def strict_sentence(tables: Tables) -> str:
    """What the rates and verdicts are without the fourth parsing rule; empty where nothing is compared."""
    rows = [row for row in tables.parse_sensitivity.rows if not row.too_few_answered]
    judged = [row for row in rows if row.verdict_changes is not None]
    if not judged:
        return ""
    read = "Read strictly, without the rule that takes the first a, b or c anywhere,"
    farthest = max(rows, key=_gap)
    changed = [row for row in judged if row.verdict_changes]
    parts: list[str] = []
    if _gap(farthest) >= _NO_DIFFERENCE:
        parts.append(
            f"the SRS of {farthest.configuration.full_name} is {words.fixed(farthest.srs_strict)} instead of "
            f"{words.fixed(farthest.srs)}, the largest difference"
        )
    if changed:
        verdicts = [
            f"{row.configuration.full_name} ({row.verdict}, strictly {row.verdict_strict})" for row in changed
        ]
        parts.append(
            f"the verdict on {len(changed)} of {len(judged)} changes: "
            f"{words.names(verdicts, most=_MOST_NAMES)}"
        )
    elif parts:
        parts.append("no verdict changes")
    return f"{read} {', and '.join(parts)}." if parts else f"{read} no SRS changes."


def _gap(row: ParseSensitivity) -> float:
    return 0.0 if row.srs is None or row.srs_strict is None else abs(row.srs_strict - row.srs)
