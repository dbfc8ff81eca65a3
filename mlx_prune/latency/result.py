"""What a latency run measured, what that shows, and its file ``latency.json``.

A result is what was measured; rows, verdicts, drift and warnings are computed from it, without MLX, so that
a result read back from its file shows the same.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlx_prune.errors import DataError
from mlx_prune.json_files import read_object, to_jsonable, typed
from mlx_prune.latency.facts import ModelFacts, RunSettings, Workload
from mlx_prune.latency.power import PowerState
from mlx_prune.latency.ratio import PairedRatio, fitted_drift, paired_ratio
from mlx_prune.latency.samples import METRICS, Samples
from mlx_prune.latency.verdict import DRIFT_LIMIT, Verdict, verdict
from mlx_prune.words import percent

FILE_NAME = "latency.json"
KIND = "latency"
FORMAT = 1
_ADVICE = "measure again"
TIMED = (
    "token ids to token ids through mlx-lm's generate_step, greedy, batch size 1; tokenization, "
    "chat template and text decoding are outside; end-of-sequence tokens are ignored"
)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 95th percentile of some times, in milliseconds; NaN if there are none."""

    median_ms: float
    p95_ms: float

    @classmethod
    def of(cls, seconds: np.ndarray[Any, Any]) -> Spread:
        """Summarize times in seconds."""
        known = seconds[np.isfinite(seconds)]
        if not len(known):
            return cls(math.nan, math.nan)
        return cls(float(np.median(known)) * 1e3, float(np.quantile(known, 0.95)) * 1e3)


@dataclass(frozen=True)
class Comparison:
    """A model against the dense one in one metric."""

    ratio: PairedRatio
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    """One model on one workload.

    Attributes:
        model: Index of the model.
        workload: Index of the workload.
        measurements: Timed generations.
        times: Spread of "total", "ttft" and "per_token".
        prompt_tps: Prompt tokens per second of the time to the first token (median).
        decode_tps: Tokens per second after the first (median).
        peak_bytes: Weights plus the most that any generation took beyond them.
        comparisons: By metric; empty for the dense model.
    """

    model: int
    workload: int
    measurements: int
    times: dict[str, Spread]
    prompt_tps: float
    decode_tps: float
    peak_bytes: int
    comparisons: dict[str, Comparison]


@dataclass(frozen=True, eq=False)
class BenchResult:
    """A latency run: what was measured, and what that shows.

    Attributes:
        settings: How it was set up.
        models: The models, dense first.
        workloads: What they were given.
        samples: Every measurement.
        interrupted: Whether the run was cut short.
        started: ISO 8601 time.
        conditions: Power and heat at the start of every round.
        versions: Of the libraries involved.
        device: The machine.
    """

    settings: RunSettings
    models: tuple[ModelFacts, ...]
    workloads: tuple[Workload, ...]
    samples: Samples
    interrupted: bool = False
    started: str = ""
    conditions: tuple[PowerState, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        """Whether the models ran in blocks."""
        return self.settings.schedule == "blocks"

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One per model and workload."""
        return tuple(self._row(m, w) for w in range(len(self.workloads)) for m in range(len(self.models)))

    @cached_property
    def drift(self) -> tuple[float, ...]:
        """Per model, fraction by which its times grew over the run."""
        samples = self.samples
        return tuple(
            fitted_drift(samples.started_s[own], samples.times("total")[own], samples.item[own])
            for own in (samples.model == m for m in range(len(self.models)))
        )

    @cached_property
    def run_drift(self) -> float:
        """Drift of the machine, from all measurements, each against others of its model and item.

        NaN where nothing was measured twice: then how items and models differ would be taken for drift.
        Beyond :data:`~mlx_prune.latency.verdict.DRIFT_LIMIT` nothing is settled.
        """
        samples = self.samples
        _, alike, times = np.unique(
            np.stack([samples.model, samples.item]), axis=1, return_inverse=True, return_counts=True
        )
        repeated = (times > 1)[alike.ravel()]
        if not repeated.any():
            return math.nan
        return fitted_drift(
            samples.started_s[repeated], samples.times("total")[repeated], alike.ravel()[repeated]
        )

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about whatever makes the figures doubtful."""
        return tuple(_warnings(self))

    def paired_times(self, metric: str, workload: int) -> npt.NDArray[np.float64]:
        """(models, items, rounds) of seconds, NaN where not measured."""
        return self.samples.cube(
            metric,
            models=len(self.models),
            items=np.array(self.workloads[workload].indices),
            rounds=self.settings.rounds,
            visits=2 if self.blocks else 1,
        )

    def to_json(self) -> dict[str, Any]:
        """The result as plain objects, for ``latency.json`` and ``--json``; NaN becomes null."""
        models = [model.label for model in self.models]
        loads = [load.name for load in self.workloads]
        rows = [
            asdict(row) | {"model": models[row.model], "workload": loads[row.workload]} for row in self.rows
        ]
        found: dict[str, Any] = to_jsonable(
            {
                "kind": KIND,
                "format": FORMAT,
                "timed": TIMED,
                "batch_size": 1,
                "settings": self.settings,
                "models": self.models,
                "workloads": self.workloads,
                "rows": rows,
                "drift": self.drift,
                "warnings": self.warnings,
                "samples": self.samples,
                "run_drift": self.run_drift,
                "interrupted": self.interrupted,
                "started": self.started,
                "conditions": self.conditions,
                "versions": self.versions,
                "device": self.device,
            }
        )
        return found

    @property
    def _family(self) -> int:
        """Comparisons of the run, which share one level."""
        return (len(self.models) - 1) * sum(len(load.metrics) for load in self.workloads)

    def _row(self, model: int, workload: int) -> Row:
        load, samples = self.workloads[workload], self.samples
        own = (samples.model == model) & np.isin(samples.item, np.array(load.indices))
        lengths = np.array(load.prompt_tokens[model], float)[samples.item[own] - load.first]
        times = {metric: samples.times(metric)[own] for metric in METRICS}
        spreads = {metric: Spread.of(seconds) for metric, seconds in times.items()}
        compared = load.metrics if model > 0 else ()
        return Row(
            model,
            workload,
            measurements=int(own.sum()),
            times=spreads,
            prompt_tps=float(np.median(lengths / times["ttft"])) if own.any() else math.nan,
            decode_tps=1e3 / spreads["per_token"].median_ms,
            peak_bytes=self.models[model].memory_bytes + int(samples.extra_bytes[own].max(initial=0)),
            comparisons={metric: self._compare(metric, model, workload) for metric in compared},
        )

    def _compare(self, metric: str, model: int, workload: int) -> Comparison:
        cube = self.paired_times(metric, workload)
        ratio = paired_ratio(
            cube[model],
            cube[0],
            blocks=self.blocks,
            confidence=self.settings.confidence,
            family=self._family,
        )
        return Comparison(ratio, verdict(ratio, self.settings.margin, drift=self.run_drift))


def is_result(path: Path) -> bool:
    """Whether a file is a :class:`BenchResult` of any version."""
    try:
        return read_object(path, DataError, _ADVICE).get("kind") == KIND
    except DataError:
        return False


def read_result(path: Path) -> BenchResult:
    """Read a ``latency.json``; statistics are computed anew from its measurements.

    Raises:
        DataError: It is absent, damaged, another file, or of a newer version.
    """
    data = read_object(path, DataError, _ADVICE, FORMAT)
    if data.get("kind") != KIND:
        raise DataError(f"{path} is not a latency result; {_ADVICE}.")
    result = typed(data, BenchResult, str(path), DataError, _ADVICE, _column)
    try:
        # Numbers that no run gives come out here.
        _ = result.rows, result.warnings
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{path} is damaged ({error}); {_ADVICE}.") from error
    return result


def _column(kind: Any, values: Any) -> Any:
    """A list of numbers in a file as the array that :class:`Samples` holds."""
    (number,) = kind.__args__[1].__args__
    return np.asarray(values, number)


def _warnings(run: BenchResult) -> list[str]:
    found = []
    if run.interrupted:
        found.append("The run was interrupted; only complete pairs are compared.")
    if abs(run.run_drift) > DRIFT_LIMIT:
        word = "slower" if run.run_drift > 0 else "faster"
        found.append(
            f"The machine became {percent(abs(run.run_drift), 0)} {word} during the run, more than the "
            f"{percent(DRIFT_LIMIT, None)} beyond which nothing is settled; let it rest, or set a longer "
            "cooldown."
        )
    for load in run.workloads:
        for facts, lengths in zip(run.models[1:], load.prompt_tokens[1:], strict=True):
            if lengths != load.prompt_tokens[0]:
                found.append(
                    f"{facts.label} splits the {load.name} prompts into other numbers of tokens "
                    f"than {run.models[0].label}."
                )
    if len({facts.dtype for facts in run.models}) > 1:
        types = ", ".join(f"{facts.label} {facts.dtype}" for facts in run.models)
        found.append(f"The models compute in different types: {types}.")
    # What was wrong at the start of any round is said once.
    complaints = dict.fromkeys(text for state in run.conditions for text in state.complaints())
    return [*found, *(f"During the run, {complaint}." for complaint in complaints)]
