"""The latencies of a study as one family of comparisons: intervals that hold together, and their verdicts.

Every configuration of a study is timed against its dense model in a run of its own. How many there are is
known only at the end, so each row keeps what its interval is made of, and the intervals are made anew
whenever a row is added or the rows are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from mlx_prune.json_files import to_jsonable
from mlx_prune.latency.ratio import PairedRatio, critical_value, degrees_of_freedom
from mlx_prune.latency.result import BenchResult
from mlx_prune.latency.verdict import verdict
from mlx_prune.stats.levels import CONFIDENCE

# Of a study's run, where a row does not say.
_ITEMS, _ROUNDS = 20, 3


class LatencyRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a study's ``latency.json`` holds of one configuration, beside its name.

    Attributes:
        ratio: Time of an answer relative to dense; None where it was not timed.
        dense_ms: Median time of the dense model in that run, in milliseconds.
        pruned_ms: That of the configuration.
        items: Questions with at least one complete pair.
        rounds: Rounds with at least one complete pair.
        noise_share: As in :class:`~mlx_prune.latency.ratio.PairedRatio`.
        log_errors: Standard errors of the log ratio, each with its degrees of freedom; None in a row that
            has an interval of its own only, one of a single comparison.
        drift: Fraction by which times grew over the run; None if unknown.
        warnings: Sentences about whatever makes the figures doubtful.
        low: Lower end of the interval, as one of ``family``; None where there is none.
        high: Upper end.
        confidence: Level at which the intervals of the whole study hold together.
        family: Comparisons that share it.
        verdict: One of :func:`~mlx_prune.latency.verdict.words`; None where it was not timed.
        more_rounds: Where open, about how many further rounds would settle it.
        more_items: Where open and rounds alone will not do, about how many further items would.
        reason: Where open and neither would settle it, why.
        note: Why it was not timed.
    """

    ratio: float | None
    dense_ms: float | None = None
    pruned_ms: float | None = None
    items: int | None = None
    rounds: int | None = None
    noise_share: float | None = None
    log_errors: tuple[tuple[float, float], ...] | None = None
    drift: float | None = None
    warnings: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    confidence: float = CONFIDENCE
    family: int = 1
    verdict: str | None = None
    more_rounds: int | None = None
    more_items: int | None = None
    reason: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("ratio", "low", "high", "dense_ms", "pruned_ms"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is not a positive number")
        if not all(0 <= error < math.inf and 0 < freedom < math.inf for error, freedom in self.errors):
            raise ValueError("no measurement gives its standard error")

    @classmethod
    def of(cls, result: BenchResult) -> LatencyRow:
        """What a study keeps of the run that timed one configuration: the dense model and it.

        Interval and verdict are made by :func:`together`.
        """
        before, after = result.rows
        ratio = after.comparisons["total"].ratio
        return cls(
            ratio=_known(ratio.ratio),
            dense_ms=_known(before.times["total"].median_ms),
            pruned_ms=_known(after.times["total"].median_ms),
            items=ratio.items,
            rounds=ratio.rounds,
            noise_share=_known(ratio.noise_share),
            log_errors=ratio.errors,
            drift=_known(result.run_drift),
            warnings=result.warnings,
        )

    def to_json(self) -> dict[str, Any]:
        """The row for ``latency.json``."""
        if self.ratio is None:
            return {"ratio": None, "note": self.note}
        row: dict[str, Any] = to_jsonable(msgspec.structs.asdict(self))
        del row["note"]
        return row

    @property
    def errors(self) -> tuple[tuple[float, float], ...]:
        """The standard errors, those of a row without them from its own interval."""
        if self.log_errors is not None:
            return self.log_errors
        if self.low is None or self.high is None:
            return ()
        freedom = degrees_of_freedom(self.items or _ITEMS)
        half = (math.log(self.high) - math.log(self.low)) / 2
        return ((half / critical_value(freedom, CONFIDENCE), freedom),)


def together(rows: Iterable[LatencyRow]) -> list[LatencyRow]:
    """Give the rows of one study intervals that hold together, and the verdicts these allow.

    The function is idempotent; a row that was not timed stays as it is.

    Raises:
        OverflowError: An interval is wider than any that is measured.
    """
    rows = list(rows)
    family = sum(row.ratio is not None for row in rows)
    return [_among(row, family) for row in rows]


def _among(row: LatencyRow, family: int) -> LatencyRow:
    if row.ratio is None:
        return row
    share = 1.0 if row.noise_share is None else row.noise_share
    alone = PairedRatio(
        row.ratio,
        math.nan,
        math.nan,
        CONFIDENCE,
        row.items or _ITEMS,
        row.rounds or _ROUNDS,
        share,
        errors=row.errors,
    )
    ratio = alone.among(family)
    said = verdict(ratio, drift=math.nan if row.drift is None else row.drift)
    return msgspec.structs.replace(
        row,
        log_errors=ratio.errors,
        low=_known(ratio.low),
        high=_known(ratio.high),
        confidence=CONFIDENCE,
        family=family,
        verdict=said.word,
        more_rounds=said.more_rounds,
        more_items=said.more_items,
        reason=said.reason,
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
