"""Sentences about what rates rest on: complete runs, answers that were understood, and how they were read."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.labels import DENSE
from mlx_prune.report.figures.panels import Tables, name_of, number
from mlx_prune.report.tables.rows import number_or_nan
from mlx_prune.report.tables.table import Row
from mlx_prune.runs.folder import COMPLETE
from mlx_prune.study.states import NOT_BEGUN

# Longer lists are cut; the tables have all.
_MOST_NAMES = 6


def floor_of(tables: Tables) -> float:
    """Share of answers that must be understood for a rate of this report to be compared."""
    rows = tables["parse_failures"].rows
    return number_or_nan(rows[0]["min_answered"]) if rows else MIN_ANSWERED


def percent(share: float) -> str:
    """A share of answers for a sentence: no "0 %" for some, and no "100 %" for not all."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 or 0.99 < share < 1 else f"{100 * share:.0f} %"


def unfinished_sentence(tables: Tables) -> str:
    """How many configurations are not finished, and that the report leaves them out; empty if none."""
    rows = tables["progress"].rows
    left = [row for row in rows if row["state"] != COMPLETE]
    if not left:
        return ""
    states = [f"{name_of(row)}: {_state(row)}" for row in left]
    one = len(left) == 1
    return (
        f"Unfinished: {len(left)} of {len(rows)} configurations {'is' if one else 'are'} left out of "
        f"everything below ({_listed(states, '; ')}). Run the study again to finish "
        f"{'it' if one else 'them'}."
    )


def _state(row: Row) -> str:
    if row["state"] == NOT_BEGUN:
        return NOT_BEGUN
    answers = f"{row['answers']:,}"
    return f"{answers} of {row['expected']:,} answers" if row["expected"] else f"{answers} answers so far"


def silent_sentences(tables: Tables) -> list[str]:
    """Which models hardly answer, so that their rates are struck out; nothing where all do."""
    silent = [row for row in tables["overall"].rows if row["too_few_answered"]]
    dense = [row for row in silent if row["prune_method"] == DENSE]
    compressed = [row for row in silent if row["prune_method"] != DENSE]
    floor, said = percent(floor_of(tables)), []
    if dense:
        names = _listed([f"{row['model']} ({percent(number_or_nan(row['answered']))})" for row in dense])
        said.append(
            f"Fewer than {floor} of the dense model's own answers were understood, of {names}; nothing is "
            "compared with it."
        )
    if compressed:
        names = _listed([f"{name_of(row)} ({percent(number_or_nan(row['answered']))})" for row in compressed])
        one = len(compressed) == 1
        said.append(
            f"{names} no longer {'answers' if one else 'answer'}: fewer than {floor} of "
            f"{'its' if one else 'their'} answers were understood, so {'its' if one else 'their'} rates are "
            "struck out and not compared."
        )
    known = {name_of(row) for row in silent}
    cells = [row for row in tables["rates"].rows if row["too_few_answered"] and name_of(row) not in known]
    if cells:
        which = _listed([f"{str(row['category']).replace('_', ' ')} of {name_of(row)}" for row in cells])
        rates = "rate is" if len(cells) == 1 else "rates are"
        said.append(f"By category, {len(cells)} further {rates} struck out for the same reason: {which}.")
    return said


def strict_sentence(tables: Tables) -> str:
    """What the rates and verdicts are without the fourth parsing rule; empty where nothing is compared."""
    rows = [row for row in tables["parse_sensitivity"].rows if not row["too_few_answered"]]
    judged = [row for row in rows if row["verdict_changes"] is not None]
    if not judged:
        return ""
    read = "Read strictly, without the rule that takes the first a, b or c anywhere,"
    moved = [row for row in rows if (gap := _gap(row)) is not None and gap >= 0.0005]
    changed = [row for row in judged if row["verdict_changes"]]
    if not moved and not changed:
        return f"{read} no SRS is another."
    parts: list[str] = []
    if moved:
        row = max(moved, key=lambda entry: _gap(entry) or 0.0)
        strict, whole = number_or_nan(row["srs_strict"]), number_or_nan(row["srs"])
        parts.append(
            f"the SRS of {name_of(row)} is {strict:.3f} instead of {whole:.3f}, the largest difference"
        )
    if changed:
        verdicts = [f"{name_of(row)} ({row['verdict']}, strictly {row['verdict_strict']})" for row in changed]
        parts.append(f"the verdict on {len(changed)} of {len(judged)} is another: {_listed(verdicts)}")
    else:
        parts.append("no verdict is another")
    return f"{read} {', and '.join(parts)}."


def _gap(row: Row) -> float | None:
    whole, strict = number(row["srs"]), number(row["srs_strict"])
    return None if whole is None or strict is None else abs(strict - whole)


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    if len(names) > _MOST_NAMES:
        names = [*names[: _MOST_NAMES - 1], f"{len(names) - _MOST_NAMES + 1} more"]
    return separator.join(names)
