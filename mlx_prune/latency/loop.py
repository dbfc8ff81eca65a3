"""The measuring loop of a latency run: rounds, warm-ups, loads, and what is kept when it is cut short."""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune import environment
from mlx_prune.latency.facts import Candidate
from mlx_prune.latency.plan import Plan, block_round, interleaved_round, item_order
from mlx_prune.latency.power import read_power
from mlx_prune.latency.result import FILE_NAME, BenchResult, ModelFacts, Settings
from mlx_prune.latency.samples import Sample, Samples
from mlx_prune.latency.summary import summarize
from mlx_prune.latency.timing import time_generation
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.store import write_atomically
from mlx_prune.wired import wired_limit

# Small models load in milliseconds, which one load cannot tell from noise.
_LOADS = 3
_LOADS_WITHIN_S = 2.0


class MeasuringLoop:
    """The measuring itself, and what it has gathered so far."""

    def __init__(
        self,
        candidates: list[Candidate],
        facts: list[ModelFacts],
        plan: Plan,
        settings: Settings,
        out: Path | None,
        progress: ProgressCallback,
    ) -> None:
        self.candidates = candidates
        self.facts = facts
        self.plan = plan
        self.settings = settings
        self.out = out
        self.progress = progress
        self.prompts = [[mx.array(ids, mx.uint32) for ids in of_model] for of_model in plan.prompts]
        mx.eval(self.prompts)
        self.samples: list[Sample] = []
        self.load_s: list[list[float]] = [[] for _ in candidates]
        self.conditions: list[dict[str, Any]] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.clock = time.perf_counter()
        visits = 2 if settings.schedule == "blocks" else 1
        self.total = visits * settings.rounds * len(candidates) * len(plan.new_tokens)

    def go(self) -> BenchResult:
        """Measure all rounds, or as many as there is patience for."""
        interrupted = False
        try:
            if self.settings.schedule == "blocks":
                self._blocks()
            else:
                self._interleaved()
        except KeyboardInterrupt:
            # Without a single measurement there is nothing to keep.
            if not self.samples:
                raise
            interrupted = True
        return self._result(interrupted)

    def _interleaved(self) -> None:
        networks = []
        for model, candidate in enumerate(self.candidates):
            networks.append(self._load(model, repeat=not candidate.loaded))
        with wired_limit(*networks):
            for number in range(self.settings.rounds):
                self._begin(number)
                for model, network in enumerate(networks):
                    self._warm_up(network, model)
                for item, model in interleaved_round(
                    len(networks), len(self.plan.new_tokens), number, self.settings.seed
                ):
                    self._time(networks[model], model, item, number, 0)
                self._keep(number)

    def _blocks(self) -> None:
        for number in range(self.settings.rounds):
            self._begin(number)
            for visit, model in block_round(len(self.candidates)):
                network = self._load(model, repeat=False)
                with wired_limit(network):
                    self._warm_up(network, model)
                    block = visit * len(self.candidates) + model
                    for item in item_order(len(self.plan.new_tokens), number, block, self.settings.seed):
                        self._time(network, model, item, number, visit)
                del network
                gc.collect()
                mx.clear_cache()
            self._keep(number)

    def _load(self, model: int, *, repeat: bool) -> Any:
        """Load a model, timed; small ones several times."""
        while True:
            start = time.perf_counter()
            opened = self.candidates[model].open(lazy=False)
            if self.candidates[model].loaded is None:
                self.load_s[model].append(time.perf_counter() - start)
            spent = self.load_s[model]
            if not repeat or len(spent) >= _LOADS or sum(spent) > _LOADS_WITHIN_S:
                return opened.model
            del opened

    def _begin(self, number: int) -> None:
        if number and self.settings.cooldown_s:
            self._report("cooling down")
            time.sleep(self.settings.cooldown_s)
        self.conditions.append(dataclasses.asdict(read_power()))

    def _warm_up(self, network: Any, model: int) -> None:
        """Compile kernels and wake the clocks: two untimed generations of each kind."""
        for workload in self.plan.workloads:
            for _ in range(2):
                time_generation(network, self.prompts[model][workload.first], workload.new_tokens)

    def _time(self, network: Any, model: int, item: int, number: int, visit: int) -> None:
        started = time.perf_counter() - self.clock
        timing = time_generation(network, self.prompts[model][item], self.plan.new_tokens[item])
        self.samples.append(
            Sample(
                model,
                item,
                number,
                visit,
                started,
                timing.ttft_s,
                timing.rest_s,
                timing.new_tokens,
                timing.extra_bytes,
            )
        )
        self._report(self.facts[model].label)

    def _report(self, detail: str) -> None:
        self.progress(Progress("time", len(self.samples), self.total, detail))

    def _keep(self, number: int) -> None:
        """Save what there is, as the interrupted run that it is until the last round."""
        if self.out is not None and number + 1 < self.settings.rounds:
            self._result(interrupted=True)

    def _result(self, interrupted: bool) -> BenchResult:
        facts = tuple(
            dataclasses.replace(f, load_s=float(np.median(times)) if times else None)
            for f, times in zip(self.facts, self.load_s, strict=True)
        )
        result = summarize(
            Samples.of(self.samples),
            self.settings,
            facts,
            self.plan.workloads,
            interrupted=interrupted,
            started=self.started,
            conditions=tuple(self.conditions),
            versions=environment.versions(),
            device=environment.device(),
        )
        if self.out is not None:
            text = json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False)
            write_atomically(self.out / FILE_NAME, text.encode())
        return result
