"""What a study's clock found, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from mlx_prune import words
from mlx_prune.latency.verdict import DRIFT_LIMIT, FASTER, OPEN, SAME
from mlx_prune.latency.verdict import words as verdicts
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.latency import LatencyRatio


def latency_sentence(tables: Tables) -> str:
    """How many of the timed models are faster, the same, slower or open; empty if none was timed."""
    rows = tables.latency_ratios.rows
    if not rows:
        return ""
    found = [row.verdict for row in rows]
    faster = found.count(FASTER)
    parts = [
        f"{found.count(word)} {'the same' if word == SAME else word}"
        for word in verdicts()
        if word != FASTER and word in found
    ]
    # What is open comes last.
    rest = "; ".join(parts) + _why_open([row for row in rows if row.verdict == OPEN])
    timed = words.counted(len(rows), "timed model")
    if not faster:
        return f"None of the {timed} was found faster than its dense one ({rest})."
    return f"{faster} of {timed} answer faster than the dense one{rest and f'; {rest}'}."


def _why_open(rows: Sequence[LatencyRatio]) -> str:
    """What would settle the comparisons that are open, as far as it is known."""
    drifted = sum(abs(row.drift or 0.0) > DRIFT_LIMIT for row in rows)
    found = [f"{drifted} because the machine drifted"] if drifted else []
    for unit, missing in (
        ("rounds", [row.more_rounds for row in rows if row.more_rounds is not None]),
        ("items", [row.more_items for row in rows if row.more_items is not None]),
    ):
        if missing:
            found.append(f"{len(missing)} for want of {unit}, typically {round(median(missing)):,} more")
    return f": {', '.join(found)}" if found else ""
