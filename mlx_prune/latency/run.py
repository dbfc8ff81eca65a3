"""Time several models against the first one, on a machine that will not hold still."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune import environment
from mlx_prune.bbq.item import Item
from mlx_prune.checkpoint.limits import Limits, limits_of
from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
from mlx_prune.errors import CheckpointError, DataError, RecordsError
from mlx_prune.latency.facts import ModelFacts, RunSettings
from mlx_prune.latency.models import Candidate, describe, labels
from mlx_prune.latency.plan import (
    Plan,
    bbq_plan,
    block_round,
    choose_schedule,
    interleaved_round,
    item_order,
    synthetic_plan,
)
from mlx_prune.latency.power import PowerState, read_power
from mlx_prune.latency.result import FILE_NAME, BenchResult, is_result, read_result
from mlx_prune.latency.samples import Sample, Samples
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.latency.timing import time_generation
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.store import write_atomically
from mlx_prune.wired import wired_limit

_MOST_TIMES = 10_000_000
# Small models load in milliseconds, which one load cannot tell from noise.
_LOADS = 3
_LOADS_WITHIN_S = 2.0


def bench(
    models: Sequence[str | Path | LoadedModel],
    settings: BenchSettings | None = None,
    *,
    questions: Sequence[Item] | None = None,
    out: Path | None = None,
    force: bool = False,
    trust_remote_code: bool = False,
    progress: ProgressCallback = silent,
) -> BenchResult:
    """Time models against the first of them, pair by pair, and say which differences are real.

    Models take turns at every item, in an order drawn anew, as long as they fit in memory together;
    otherwise they run in blocks through all models and back (ABBA), each block with a model of its own load.
    All of it runs inside mlx-lm's wired limit, as mlx-lm's own generation does; setting it is not timed.
    A KeyboardInterrupt ends the measuring; what was measured until then is returned as a result whose
    ``interrupted`` is true.

    Args:
        models: At least two, the dense model first: folders, Hub ids, "demo", or loaded models (whose sizes
            on disk and load times are not measured). The same model twice is an A/A test of the machine.
        settings: What is timed, how often and in which order.
        questions: What ``settings.bbq`` would be read to, where it was read already.
        out: Folder for ``latency.json``, written anew after every round. A run that was finished there is
            read, not repeated; one that was stopped is measured anew, as the machine has changed since.
        force: Replace the ``latency.json`` of an earlier run.
        trust_remote_code: Run code that comes with the models.
        progress: Called with where things stand.

    Returns:
        The measurements and what they show.

    Raises:
        DataError: There are fewer than two models or too many measurements, or the questions cannot be read.
        CheckpointError: A model cannot be loaded.
        RecordsError: ``out`` holds another run's results, or cannot be written.
    """
    settings = settings or BenchSettings()
    if len(models) < 2:
        raise DataError("a comparison needs two models; name one twice to see what the machine alone does.")
    if settings.rounds * settings.items * len(models) > _MOST_TIMES:
        raise DataError(
            f"{settings.rounds:,} rounds of {settings.items:,} items are more than the {_MOST_TIMES:,} times "
            "that are kept; choose fewer."
        )
    earlier = None if out is None else _earlier(out, force)
    candidates = [
        Candidate(
            model if isinstance(model, LoadedModel) else Checkpoint(model, trust_remote_code),
            label,
            settings.dtype,
        )
        for model, label in zip(models, labels(models), strict=True)
    ]
    if settings.schedule == "blocks" and any(candidate.loaded for candidate in candidates):
        raise DataError("loaded models stay in memory, so they can only be interleaved, not run in blocks.")
    facts: list[ModelFacts] = []
    tokenizers: list[Any] = []
    limits: list[Limits] = []
    for candidate in candidates:
        opened = candidate.open(lazy=True)
        tokenizers.append(opened.tokenizer)
        limits.append(limits_of(opened.config))
        facts.append(describe(candidate, opened, sizes=settings.sizes, progress=progress))
    del opened
    plan = _plan(settings, questions, facts, tokenizers, limits)
    kept = RunSettings(
        choose_schedule(settings.schedule, [f.memory_bytes for f in facts]),
        settings.rounds,
        settings.cooldown_s,
        settings.margin,
        seed=settings.seed,
        bbq=settings.questions,
        trust_remote_code=trust_remote_code,
    )
    if earlier is not None and out is not None:
        if not _same_run(earlier, kept, facts, plan):
            raise RecordsError(
                f"{out / FILE_NAME} exists and holds another run; choose another folder, or use force."
            )
        if not earlier.interrupted:
            return earlier
    return _Loop(candidates, facts, plan, kept, out, progress).go()


def _plan(
    settings: BenchSettings,
    questions: Sequence[Item] | None,
    facts: list[ModelFacts],
    tokenizers: list[Any],
    limits: list[Limits],
) -> Plan:
    """The prompts, checked against what each model takes."""
    new = settings.answer_tokens
    if settings.prompt_lengths:
        vocabularies = []
        for model, taken in zip(facts, limits, strict=True):
            if taken.rows is None:
                raise CheckpointError(f"the config.json of {model.label} gives no vocab_size.")
            vocabularies.append(taken.rows)
            longest = max(settings.prompt_lengths)
            if taken.positions is not None and longest + new > taken.positions:
                raise DataError(
                    f"{model.label} takes at most {taken.positions:,} tokens, a prompt of {longest:,} with "
                    f"{new:,} new ones is too long; choose a shorter one."
                )
        plan = synthetic_plan(vocabularies, settings)
    else:
        plan = bbq_plan(tokenizers, settings, questions)
    for model, taken, prompts in zip(facts, limits, plan.prompts, strict=True):
        for number, tokens in enumerate(prompts, start=1):
            taken.check(tokens, f"prompt {number} of {model.label}", new=new)
    return plan


def _earlier(out: Path, force: bool) -> BenchResult | None:
    """What the folder holds of an earlier run; None if nothing, or if it is to be replaced."""
    file = out / FILE_NAME
    if not file.exists():
        return None
    if not is_result(file):
        raise RecordsError(f"{file} exists and is no benchmark's, perhaps a study's; choose another folder.")
    return None if force else read_result(file)


def _same_run(earlier: BenchResult, settings: RunSettings, facts: list[ModelFacts], plan: Plan) -> bool:
    """Whether an earlier run asked for the same: how, of which models, with which prompts."""

    def identity(models: Sequence[ModelFacts]) -> list[tuple[object, ...]]:
        return [(m.label, m.path, m.recipe, m.dtype, m.memory_bytes, m.disk_bytes) for m in models]

    return (
        # What "auto" chooses depends on the memory that is free.
        replace(earlier.settings, schedule=settings.schedule) == settings
        and identity(earlier.models) == identity(facts)
        and earlier.workloads == plan.workloads
    )


@dataclass
class _Loop:
    """The measuring itself, and what it has gathered so far."""

    candidates: list[Candidate]
    facts: list[ModelFacts]
    plan: Plan
    settings: RunSettings
    out: Path | None
    progress: ProgressCallback

    def __post_init__(self) -> None:
        self.prompts = [[mx.array(ids, mx.uint32) for ids in of_model] for of_model in self.plan.prompts]
        mx.eval(self.prompts)
        self.samples: list[Sample] = []
        self.load_s: list[list[float]] = [[] for _ in self.candidates]
        self.conditions: list[PowerState] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.clock = time.perf_counter()
        visits = 2 if self.settings.schedule == "blocks" else 1
        self.total = visits * self.settings.rounds * len(self.candidates) * len(self.plan.new_tokens)

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
        self.conditions.append(read_power())

    def _warm_up(self, network: Any, model: int) -> None:
        """Compile kernels and wake the clocks: two untimed generations of each kind."""
        for workload in self.plan.workloads:
            for _ in range(2):
                time_generation(network, self.prompts[model][workload.first], workload.new_tokens)

    def _time(self, network: Any, model: int, item: int, number: int, visit: int) -> None:
        started = time.perf_counter() - self.clock
        timing = time_generation(network, self.prompts[model][item], self.plan.new_tokens[item])
        self.samples.append(Sample(model, item, number, visit, started, *astuple(timing)))
        self._report(self.facts[model].label)

    def _report(self, detail: str) -> None:
        self.progress(Progress("time", len(self.samples), self.total, detail))

    def _keep(self, number: int) -> None:
        """Save what there is, as the interrupted run that it is until the last round."""
        if self.out is not None and number + 1 < self.settings.rounds:
            self._result(interrupted=True)

    def _result(self, interrupted: bool) -> BenchResult:
        facts = tuple(
            replace(f, load_s=float(np.median(times)) if times else None)
            for f, times in zip(self.facts, self.load_s, strict=True)
        )
        result = BenchResult(
            self.settings,
            facts,
            self.plan.workloads,
            Samples.of(self.samples),
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
