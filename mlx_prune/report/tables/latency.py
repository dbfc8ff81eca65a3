"""Tables of time: of the answers as they were given, and relative to dense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import Configured, configured
from mlx_prune.report.tables.table import About, Interval, column


@dataclass(frozen=True, kw_only=True)
class Latency(Configured):
    """Wall time of the answers of one configuration."""

    about = About(
        "latency",
        "Latency as the study measured it",
        "Seconds per answer, one configuration after the other on a machine that warms up; compare models by "
        "`mlxprune bench`, which interleaves them.",
    )

    latency_mean: float = column("seconds per answer")
    latency_median: float = column("seconds per answer")
    latency_p95: float = column("seconds that 95 % of the answers stayed below")
    answers: int = column("answers that were timed on their own")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Latency]:
        """Wall time of the answers that were generated one at a time."""
        for run in data.runs:
            if len(run.elapsed_s):
                yield Latency(
                    **configured(data, run.configuration),
                    latency_mean=run.elapsed_s.mean(),
                    latency_median=float(np.median(run.elapsed_s)),
                    latency_p95=float(np.quantile(run.elapsed_s, 0.95)),
                    answers=len(run.elapsed_s),
                )


@dataclass(frozen=True, kw_only=True)
class LatencyRatio(Configured):
    """How long an answer takes, relative to dense."""

    about = About(
        "latency_ratios",
        "Time of an answer, relative to dense",
        "Paired ratio of the time per question, measured in turn with the dense model, with its interval; "
        "all intervals of the study hold at once with 95 % confidence. faster, slower: the whole interval is "
        "more than 5 % from dense; same: all of it is within 5 %; open: it reaches across that limit, and "
        "about how many more rounds or items would tell. drift: fraction by which times grew over the run; "
        "beyond 0.1 either way nothing is settled. Milliseconds are medians.",
    )

    ratio: Interval = column("time relative to dense", names=("ratio", "low", "high"))
    verdict: str | None = column("faster, slower, same, within 5 % but not exactly 1, or open")
    more_rounds: int | None = column("where open, about how many more rounds would settle it")
    more_items: int | None = column("where open, about how many more items would settle it")
    drift: float | None = column("fraction by which times grew over the run")
    dense_ms: float | None = column("milliseconds of an answer of the dense model, median")
    pruned_ms: float | None = column("milliseconds of an answer, median")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[LatencyRatio]:
        """Time of an answer relative to dense, for the configurations that were timed."""
        for run in data.runs:
            found = data.latencies.get(run.configuration)
            if found is None or found.ratio is None:
                continue
            yield LatencyRatio(
                **configured(data, run.configuration),
                ratio=Interval(found.ratio, found.low, found.high),
                verdict=found.verdict,
                more_rounds=found.more_rounds,
                more_items=found.more_items,
                drift=found.drift,
                dense_ms=found.dense_ms,
                pruned_ms=found.pruned_ms,
            )
