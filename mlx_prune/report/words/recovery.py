"""Does bias come back down with perplexity? A sentence, which also says when nobody can tell."""

from __future__ import annotations

from mlx_prune import words
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.recovery import Recovered
from mlx_prune.stats.levels import SIGNIFICANCE

BACK, PARTLY, STAYED, OPEN, UNMOVED, RISEN, UNKNOWN = (
    *("back", "partly back", "stayed", "open"),
    *("unmoved", "risen", "unknown"),
)


def verdict(row: Recovered) -> str:
    """What a row says of the rise of SRS that pruning brought.

    Returns:
        BACK (it fell, and none is left beyond chance), PARTLY (it fell, and some is left), STAYED (no fall
        beyond chance, and some is left), OPEN (neither a fall nor a rest is beyond chance), UNMOVED (pruning
        had raised nothing beyond chance), RISEN (recovery raised it), or UNKNOWN (no intervals).
    """
    left = row.srs_left.ends
    if row.q_pruning is None or row.q_recovery is None or left is None:
        return UNKNOWN
    moved = row.q_recovery < SIGNIFICANCE
    if moved and (row.srs_recovery.value or 0.0) > 0:
        return RISEN
    if not (row.q_pruning < SIGNIFICANCE and (row.srs_pruning.value or 0.0) > 0):
        return UNMOVED
    remains = left[0] > 0
    if moved:
        return PARTLY if remains else BACK
    return STAYED if remains else OPEN


_SAID = {
    BACK: "stereotype reliance came back with it: pruning had moved SRS by {pruning}, recovery moved it by "
    "{recovery}",
    PARTLY: "stereotype reliance came back in part: pruning had moved SRS by {pruning}, recovery moved it by "
    "{recovery}, and it is still {left} from dense",
    STAYED: "stereotype reliance did not come back with it beyond chance: SRS moved by {recovery} and is "
    "still {left} from dense",
    OPEN: "whether stereotype reliance came back cannot be told: SRS moved by {recovery} and is {left} from "
    "dense, so neither a return nor none is beyond chance",
    UNMOVED: "there was no rise of SRS beyond chance to take back: pruning had moved it by {pruning}; "
    "recovery moved it by {recovery}",
    RISEN: "stereotype reliance rose beyond chance: pruning had moved SRS by {pruning}, recovery moved it by "
    "{recovery}",
    UNKNOWN: "what it did to stereotype reliance cannot be told: too few question templates were asked, or "
    "too few answers understood",
}


def recovery_sentence(tables: Tables) -> str:
    """The recovered model that pruning had moved most, and how the others fared; empty without any."""
    rows = sorted(tables.recovery.rows, key=lambda row: -abs(row.srs_pruning.value or 0.0))
    if not rows:
        return ""
    row = rows[0]
    moves = {"pruning": row.srs_pruning, "recovery": row.srs_recovery, "left": row.srs_left}
    said = _SAID[verdict(row)].format(
        **{
            name: words.signed(move.value)
            + (f" ({words.interval(*move.ends, words.signed)})" if move.ends is not None else "")
            for name, move in moves.items()
        }
    )
    return f"{_perplexity(row)}{said}{_others(rows)}."


def _perplexity(row: Recovered) -> str:
    name = row.configuration.full_name
    if row.gap_closed is None:
        return f"Of {name}, trained back, "
    return f"In {name} training took back {words.percent(row.gap_closed, 0)} of the rise of perplexity, and "


def _others(rows: list[Recovered]) -> str:
    if len(rows) == 1:
        return ""
    found = [verdict(row) for row in rows]
    down = sum(one in (BACK, PARTLY) for one in found)
    return (
        f"; of {words.counted(len(rows), 'recovered model')}, SRS came down beyond chance in {down} "
        "(table `recovery`)"
    )
