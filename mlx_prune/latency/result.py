"""What a latency run was and what it showed: settings, models, workloads, rows, and ``latency.json``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mlx_prune.latency.ratio import PairedRatio
from mlx_prune.latency.samples import Samples
from mlx_prune.latency.verdict import Verdict
from mlx_prune.stats.levels import CONFIDENCE

FILE_NAME = "latency.json"
KIND = "latency"
FORMAT = 1
TIMED = (
    "token ids to token ids through mlx-lm's generate_step, greedy, batch size 1; tokenization, "
    "chat template and text decoding are outside; end-of-sequence tokens are ignored"
)


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model apart from its times.

    Attributes:
        label: Short and unique name for tables.
        name: What the user called it.
        path: Its folder.
        recipe: What was done to it, in a few words; empty for a plain checkpoint.
        dtype: Compute type.
        load_s: Median seconds to load model and tokenizer, files most likely in the system's cache.
        memory_bytes: Its parameters in memory.
        disk_bytes: Its safetensors files; None for a model that exists in memory only.
        zstd_bytes: The same files under zstd, or None if not asked for.
        bitmask_bytes: Their tensors with the zeros left out, or None (:func:`~.sizes.bitmask_bytes`).
        gguf_bytes: Exported by mlx-lm, or None.
        gguf_note: Why there is no GGUF size.
    """

    label: str
    name: str
    path: str
    recipe: str
    dtype: str
    load_s: float | None
    memory_bytes: int
    disk_bytes: int | None = None
    zstd_bytes: int | None = None
    gguf_bytes: int | None = None
    gguf_note: str = ""
    bitmask_bytes: int | None = None


@dataclass(frozen=True)
class Workload:
    """Prompts of one kind.

    Attributes:
        name: "bbq", or "p128" for synthetic prompts of 128 tokens.
        first: Index of its first item among those of all workloads.
        items: Number of prompts.
        prompt_tokens: For every model, the lengths of its prompts.
        new_tokens: Tokens generated per prompt.
    """

    name: str
    first: int
    items: int
    prompt_tokens: tuple[tuple[int, ...], ...]
    new_tokens: int

    @property
    def indices(self) -> range:
        """Indices of its items."""
        return range(self.first, self.first + self.items)


@dataclass(frozen=True)
class Settings:
    """How a latency run was set up.

    Attributes:
        schedule: "interleaved" (in turn per item) or "blocks" (one model in memory at a time, ABBA).
        rounds: Rounds asked for.
        cooldown_s: Pause between rounds.
        margin: Largest difference that does not matter, as a fraction.
        confidence: Level at which the intervals of all comparisons hold together.
        seed: Of the order and the synthetic prompts.
        bbq: Source of the BBQ prompts, or None for synthetic ones.
        trust_remote_code: Whether the models' own code was allowed to run.
    """

    schedule: str
    rounds: int
    cooldown_s: float
    margin: float
    confidence: float = CONFIDENCE
    seed: int = 0
    bbq: str | None = None
    trust_remote_code: bool = False


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


@dataclass(frozen=True)
class BenchResult:
    """A latency run: what was measured and what it shows.

    Attributes:
        settings: How it was set up.
        models: The models, dense first.
        workloads: What they were given.
        rows: One per model and workload.
        drift: Per model, fraction by which its times grew over the run.
        run_drift: The same of all measurements together; beyond its limit nothing is settled.
        warnings: Sentences about whatever makes the figures doubtful.
        samples: Every measurement.
        interrupted: Whether the run was cut short.
        started: ISO 8601 time.
        conditions: Power and heat at the start of every round, the fields of
            :class:`~mlx_prune.latency.power.PowerState`.
        versions: Of the libraries involved.
        device: The machine.
    """

    settings: Settings
    models: tuple[ModelFacts, ...]
    workloads: tuple[Workload, ...]
    rows: tuple[Row, ...]
    drift: tuple[float, ...]
    warnings: tuple[str, ...]
    samples: Samples
    run_drift: float = math.nan
    interrupted: bool = False
    started: str = ""
    conditions: tuple[dict[str, Any], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        """Whether the models ran in blocks."""
        return self.settings.schedule == "blocks"

    def paired_times(self, metric: str, workload: int) -> np.ndarray[Any, Any]:
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
        columns = {name: column.tolist() for name, column in vars(self.samples).items()}
        plain = {**asdict(self), "samples": columns}
        for row in plain["rows"]:
            row["model"] = self.models[row["model"]].label
            row["workload"] = self.workloads[row["workload"]].name
        head = {"kind": KIND, "format": FORMAT, "timed": TIMED, "batch_size": 1}
        return {**head, **_without_nan(plain)}


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value
