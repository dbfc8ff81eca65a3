"""The latencies of a study as one family of comparisons: intervals that hold together, and their verdicts.

Every configuration of a study is timed against its dense model in a run of its own. How many there are is
known only at the end, so each row keeps what its interval is made of, and the intervals are made anew
whenever a row is added or the rows are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mlx_prune.latency.ratio import PairedRatio, critical_value, degrees_of_freedom
from mlx_prune.latency.result import BenchResult
from mlx_prune.latency.verdict import verdict
from mlx_prune.stats.levels import CONFIDENCE

# Of a study's run, where an early version did not record it.
_ITEMS, _ROUNDS = 20, 3

Row = dict[str, Any]


def study_row(result: BenchResult) -> Row:
    """What a study keeps of the run that timed one configuration: the dense model and it.

    Interval and verdict are those of a single comparison until :func:`together` makes them the study's.
    """
    before, after = result.rows
    ratio = after.comparisons["total"].ratio
    drift = result.run_drift
    return {
        "ratio": ratio.ratio,
        "dense_ms": before.times["total"].median_ms,
        "pruned_ms": after.times["total"].median_ms,
        "items": ratio.items,
        "rounds": ratio.rounds,
        "noise_share": ratio.noise_share,
        "log_errors": [list(error) for error in ratio.errors],
        "drift": drift,
        "warnings": list(result.warnings),
    }


def together(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Give the rows of one study intervals that hold together, and the verdicts these allow.

    Args:
        rows: Of a study's ``latency.json``. A row of an early version has only its own 95 % interval, from
            which the wider one is made; a row without a ratio was not timed and stays as it is.

    Returns:
        The rows with ``low``, ``high``, ``confidence``, ``family``, ``verdict``, ``more_rounds``,
        ``more_items`` and ``reason``. The function is idempotent.

    Raises:
        KeyError, TypeError, ValueError: A row is not as any version wrote it.
    """
    found = [dict(row) for row in rows]
    timed = [row for row in found if row.get("ratio") is not None]
    for row in timed:
        one = _paired(row).among(len(timed))
        said = verdict(one, drift=_number(row.get("drift")))
        row["log_errors"] = [list(error) for error in one.errors]
        row |= {"low": _known(one.low), "high": _known(one.high)}
        row |= {"confidence": CONFIDENCE, "family": len(timed), "verdict": said.word}
        row |= {"more_rounds": said.more_rounds, "more_items": said.more_items, "reason": said.reason}
    return found


def _paired(row: Mapping[str, Any]) -> PairedRatio:
    ratio = float(row["ratio"])
    items, rounds = int(row.get("items") or _ITEMS), int(row.get("rounds") or _ROUNDS)
    if "log_errors" in row:
        errors = tuple((float(error), float(freedom)) for error, freedom in row["log_errors"])
    else:
        errors = _from_interval(row, items)
    if not all(0 <= error < math.inf and 0 < freedom < math.inf for error, freedom in errors):
        raise ValueError("no measurement gives its standard error")
    share = _number(row.get("noise_share"), 1.0)
    return PairedRatio(ratio, math.nan, math.nan, CONFIDENCE, items, rounds, share, errors=errors)


def _from_interval(row: Mapping[str, Any], items: int) -> tuple[tuple[float, float], ...]:
    low, high = row.get("low"), row.get("high")
    if low is None or high is None:
        return ()
    freedom = degrees_of_freedom(items)
    half = (math.log(float(high)) - math.log(float(low))) / 2
    return ((half / critical_value(freedom, CONFIDENCE), freedom),)


def _number(value: Any, otherwise: float = math.nan) -> float:
    return otherwise if value is None else float(value)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
