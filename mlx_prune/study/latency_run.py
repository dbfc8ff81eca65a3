"""Time several models against the first one, on a machine that will not hold still."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune import environment
from mlx_prune.checkpoints import LoadedModel
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.measures.equivalence import MARGIN
from mlx_prune.measures.latency import time_generation
from mlx_prune.measures.latency_result import FILE_NAME, BenchResult, ModelFacts, Settings
from mlx_prune.measures.latency_samples import Sample, Samples
from mlx_prune.measures.latency_summary import summarize
from mlx_prune.measures.power import read_power
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.study.files import write_atomically
from mlx_prune.study.latency_facts import Candidate, describe, labels
from mlx_prune.study.latency_plan import (
    BBQ_TOKENS,
    SYNTHETIC_TOKENS,
    Plan,
    bbq_plan,
    block_round,
    choose_schedule,
    interleaved_round,
    item_order,
    synthetic_plan,
)

# Small models load in milliseconds, which one load cannot tell from noise.
_LOADS = 3
_LOADS_WITHIN_S = 2.0


def bench(
    models: Sequence[str | Path | LoadedModel],
    *,
    rounds: int = 5,
    items: int = 40,
    cooldown_s: float = 2.0,
    bbq: str | Path | None = None,
    prompt_lengths: Sequence[int] = (),
    new_tokens: int | None = None,
    margin: float = MARGIN,
    schedule: str = "auto",
    dtype: str = "auto",
    sizes: bool = True,
    out: Path | None = None,
    force: bool = False,
    seed: int = 0,
    trust_remote_code: bool = False,
    progress: ProgressCallback = silent,
) -> BenchResult:
    """Time models against the first of them, pair by pair, and say which differences are real.

    Models take turns at every item, in an order drawn anew, as long as they fit in memory together;
    otherwise they run in blocks through all models and back (ABBA), each block with a model of its own load.
    A KeyboardInterrupt ends the measuring; what was measured until then is returned as a result whose
    ``interrupted`` is true.

    Args:
        models: At least two, the dense model first: folders, Hub ids, "demo", or loaded models (whose sizes
            on disk and load times are not measured). The same model twice is an A/A test of the machine.
        rounds: Times that every model answers every item.
        items: BBQ questions, or synthetic prompts per length.
        cooldown_s: Seconds to rest between rounds.
        bbq: Source of the questions, "demo" (the default), "hub" or a folder.
        prompt_lengths: Lengths of synthetic prompts, instead of questions.
        new_tokens: Tokens per answer; by default 5 for questions and 32 for synthetic prompts.
        margin: Largest difference that does not matter, as a fraction.
        schedule: "auto", "interleaved" or "blocks".
        dtype: Compute type, as in :func:`~mlx_prune.checkpoints.load`.
        sizes: Also measure the files under zstd and as GGUF.
        out: Folder for ``latency.json``, written anew after every round.
        force: Replace the ``latency.json`` of an earlier run.
        seed: Of the order, the synthetic prompts and the resampling.
        trust_remote_code: Run code that comes with the models.
        progress: Called with where things stand.

    Returns:
        The measurements and what they show.

    Raises:
        DataError: An argument is out of its range, or the questions cannot be read.
        CheckpointError: A model cannot be loaded.
        RecordsError: ``out`` holds another run's results, or cannot be written.
    """
    _check(models, rounds, items, cooldown_s, margin, new_tokens)
    if bbq is not None and prompt_lengths:
        raise DataError("questions and synthetic prompts exclude each other; give one of them.")
    if out is not None and not force and (out / FILE_NAME).exists():
        raise RecordsError(f"{out / FILE_NAME} exists; choose another folder, or replace it by force.")
    candidates = [
        Candidate(model, label, dtype, trust_remote_code)
        for model, label in zip(models, labels(models), strict=True)
    ]
    if schedule == "blocks" and any(candidate.loaded for candidate in candidates):
        raise DataError("loaded models stay in memory, so they can only be interleaved, not run in blocks.")
    facts: list[ModelFacts] = []
    tokenizers, vocabularies = [], []
    for candidate in candidates:
        opened = candidate.open(lazy=True)
        tokenizers.append(opened.tokenizer)
        vocabularies.append(candidate.vocabulary(opened))
        facts.append(describe(candidate, opened, sizes=sizes, progress=progress))
    del opened
    if prompt_lengths:
        plan = synthetic_plan(vocabularies, prompt_lengths, items, new_tokens or SYNTHETIC_TOKENS, seed)
    else:
        plan = bbq_plan(tokenizers, bbq or "demo", items, new_tokens or BBQ_TOKENS)
    settings = Settings(
        choose_schedule(schedule, [f.memory_bytes for f in facts]),
        rounds,
        cooldown_s,
        margin,
        seed=seed,
        bbq=None if prompt_lengths else str(bbq or "demo"),
        trust_remote_code=trust_remote_code,
    )
    run = _Run(candidates, facts, plan, settings, out, progress)
    return run.go()


class _Run:
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


def _check(
    models: Sequence[Any],
    rounds: int,
    items: int,
    cooldown_s: float,
    margin: float,
    new_tokens: int | None,
) -> None:
    if len(models) < 2:
        raise DataError("a comparison needs two models; name one twice to see what the machine alone does.")
    if rounds < 1 or items < 1:
        raise DataError("there must be at least one round and one item.")
    if not (math.isfinite(cooldown_s) and cooldown_s >= 0):
        raise DataError(f"a cooldown of {cooldown_s} seconds makes no sense.")
    if not 0 < margin < 1:
        raise DataError(f"the margin is a fraction between 0 and 1, not {margin}.")
    if new_tokens is not None and new_tokens < 1:
        raise DataError(f"an answer of {new_tokens} tokens cannot be timed.")
