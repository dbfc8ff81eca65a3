"""All single measurements of a latency run, as columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

METRICS = ("total", "ttft", "per_token")


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed generation in its place.

    Attributes:
        model: Index of the model; 0 is the dense one.
        item: Index of the item, counted through all workloads.
        round: Round, from 0.
        visit: In blocks, 0 on the way there and 1 on the way back; 0 otherwise.
        started_s: Seconds since the run began.
        ttft_s: Seconds to the first token.
        rest_s: Seconds from the first token to the last.
        new_tokens: Tokens generated.
        extra_bytes: Peak memory beyond the weights.
    """

    model: int
    item: int
    round: int
    visit: int
    started_s: float
    ttft_s: float
    rest_s: float
    new_tokens: int
    extra_bytes: int


@dataclass(frozen=True)
class Samples:
    """Columns of :class:`Sample`, one entry per measurement, in order of time."""

    model: Integers
    item: Integers
    round: Integers
    visit: Integers
    started_s: Floats
    ttft_s: Floats
    rest_s: Floats
    new_tokens: Integers
    extra_bytes: Integers

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Samples:
        """Gather single measurements."""
        kinds = {f.name: np.float64 if f.type == "float" else np.int64 for f in fields(Sample)}
        columns: dict[str, Any] = {k: np.array([getattr(s, k) for s in samples], t) for k, t in kinds.items()}
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.model)

    def times(self, metric: str) -> Floats:
        """(n,) seconds: "total", "ttft" or "per_token" (NaN where a single token was generated)."""
        if metric == "total":
            return self.ttft_s + self.rest_s
        if metric == "ttft":
            return self.ttft_s
        further = np.where(self.new_tokens > 1, self.new_tokens - 1, math.nan)
        per_token: Floats = self.rest_s / further
        return per_token

    def cube(self, metric: str, *, models: int, items: npt.ArrayLike, rounds: int, visits: int) -> Floats:
        """Times by model, item and round.

        Args:
            metric: As in :meth:`times`.
            models: Number of models.
            items: Indices of the items wanted, ascending.
            rounds: Number of rounds.
            visits: 1, or 2 for a run in blocks: then each entry is the geometric mean of both visits, in
                which a steady drift cancels.

        Returns:
            (models, items, rounds) in seconds, NaN where a visit is missing.
        """
        wanted = np.asarray(items, np.int64)
        keep = np.isin(self.item, wanted)
        logs = np.full((models, len(wanted), rounds, visits), np.nan)
        where = (
            self.model[keep],
            np.searchsorted(wanted, self.item[keep]),
            self.round[keep],
            self.visit[keep],
        )
        logs[where] = np.log(self.times(metric)[keep])
        times: Floats = np.exp(logs.mean(axis=3))
        return times
