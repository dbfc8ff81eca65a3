"""What a study's clock found, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from mlx_prune.latency.verdict import DRIFT_LIMIT, FASTER, OPEN, SAME, words
from mlx_prune.report.figures.panels import Tables, number
from mlx_prune.report.tables.table import Row


def latency_sentence(tables: Tables) -> str:
    """How many of the timed models are faster, the same, slower or open; empty if none was timed."""
    rows = tables["latency_ratios"].rows
    if not rows:
        return ""
    verdicts = [str(row["verdict"]) for row in rows]
    faster = verdicts.count(FASTER)
    parts = [
        f"{verdicts.count(word)} {'the same' if word == SAME else word}"
        for word in words()
        if word != FASTER and word in verdicts
    ]
    # What is open comes last.
    rest = "; ".join(parts) + _why_open([row for row in rows if row["verdict"] == OPEN])
    timed = f"{len(rows)} timed model{'' if len(rows) == 1 else 's'}"
    if not faster:
        return f"None of the {timed} was found faster than its dense one ({rest})."
    return f"{faster} of {timed} answer faster than the dense one{rest and f'; {rest}'}."


def _why_open(rows: Sequence[Row]) -> str:
    """What would settle the comparisons that are open, as far as it is known."""
    drifted = sum(abs(number(row["drift"]) or 0.0) > DRIFT_LIMIT for row in rows)
    found = [f"{drifted} because the machine drifted"] if drifted else []
    for unit in ("round", "item"):
        missing = [more for row in rows if (more := number(row[f"more_{unit}s"])) is not None]
        if missing:
            found.append(f"{len(missing)} for want of {unit}s, typically {round(median(missing)):,} more")
    return f": {', '.join(found)}" if found else ""
