"""Time several models against the first one, on a machine that will not hold still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.latency.facts import Candidate, describe, labels
from mlx_prune.latency.loop import MeasuringLoop
from mlx_prune.latency.plan import (
    BBQ_TOKENS,
    MOST_TOKENS,
    SYNTHETIC_TOKENS,
    Plan,
    bbq_plan,
    choose_schedule,
    synthetic_plan,
)
from mlx_prune.latency.result import FILE_NAME, BenchResult, ModelFacts, Settings
from mlx_prune.latency.summary import is_result, read_result
from mlx_prune.latency.verdict import MARGIN
from mlx_prune.progress import ProgressCallback, silent

_MOST_TIMES = 10_000_000
_LONGEST_COOLDOWN_S = 86_400


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
    All of it runs inside mlx-lm's wired limit, as mlx-lm's own generation does; setting it is not timed.
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
        dtype: Compute type, as in :func:`~mlx_prune.checkpoint.open.load`.
        sizes: Also measure the files under zstd and as GGUF.
        out: Folder for ``latency.json``, written anew after every round. A run that was finished there is
            read, not repeated; one that was stopped is measured anew, as the machine has changed since.
        force: Replace the ``latency.json`` of an earlier run.
        seed: Of the order and the synthetic prompts.
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
    earlier = None if out is None else _earlier(out, force)
    candidates = [
        Candidate(model, label, dtype, trust_remote_code)
        for model, label in zip(models, labels(models), strict=True)
    ]
    if schedule == "blocks" and any(candidate.loaded for candidate in candidates):
        raise DataError("loaded models stay in memory, so they can only be interleaved, not run in blocks.")
    facts: list[ModelFacts] = []
    tokenizers, vocabularies, limits = [], [], []
    for candidate in candidates:
        opened = candidate.open(lazy=True)
        tokenizers.append(opened.tokenizer)
        vocabularies.append(candidate.vocabulary(opened))
        limits.append(limits_of(opened.config))
        facts.append(describe(candidate, opened, sizes=sizes, progress=progress))
    del opened
    if prompt_lengths:
        new = new_tokens or SYNTHETIC_TOKENS
        for candidate, taken in zip(candidates, limits, strict=True):
            if taken.positions is not None and max(prompt_lengths) + new > taken.positions:
                raise DataError(
                    f"{candidate.label} takes at most {taken.positions:,} tokens, a prompt of "
                    f"{max(prompt_lengths):,} with {new:,} new ones is too long; choose a shorter one."
                )
        plan = synthetic_plan(vocabularies, prompt_lengths, items, new, seed)
    else:
        plan = bbq_plan(tokenizers, bbq or "demo", items, new_tokens or BBQ_TOKENS)
    for candidate, taken, prompts in zip(candidates, limits, plan.prompts, strict=True):
        for number, (tokens, new) in enumerate(zip(prompts, plan.new_tokens, strict=True), start=1):
            taken.check(tokens, f"prompt {number} of {candidate.label}", new=new)
    settings = Settings(
        choose_schedule(schedule, [f.memory_bytes for f in facts]),
        rounds,
        cooldown_s,
        margin,
        seed=seed,
        bbq=None if prompt_lengths else str(bbq or "demo"),
        trust_remote_code=trust_remote_code,
    )
    if earlier is not None and out is not None:
        if not _same_run(earlier, settings, facts, plan):
            raise RecordsError(
                f"{out / FILE_NAME} exists and holds another run; choose another folder, or use force."
            )
        if not earlier.interrupted:
            return earlier
    return MeasuringLoop(candidates, facts, plan, settings, out, progress).go()


def _earlier(out: Path, force: bool) -> BenchResult | None:
    """What the folder holds of an earlier run; None if nothing, or if it is to be replaced."""
    file = out / FILE_NAME
    if not file.exists():
        return None
    if not is_result(file):
        raise RecordsError(f"{file} exists and is no benchmark's, perhaps a study's; choose another folder.")
    return None if force else read_result(file)


def _same_run(earlier: BenchResult, settings: Settings, facts: list[ModelFacts], plan: Plan) -> bool:
    """Whether an earlier run asked for the same: how, of which models, with which prompts."""

    def identity(models: Sequence[ModelFacts]) -> list[tuple[object, ...]]:
        return [(m.label, m.path, m.recipe, m.dtype, m.memory_bytes, m.disk_bytes) for m in models]

    return (
        # What "auto" chooses depends on the memory that is free.
        replace(earlier.settings, schedule=settings.schedule) == settings
        and identity(earlier.models) == identity(facts)
        and earlier.workloads == plan.workloads
    )


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
    if rounds * items * len(models) > _MOST_TIMES:
        raise DataError(
            f"{rounds:,} rounds of {items:,} items are more than the {_MOST_TIMES:,} times that are kept; "
            "choose fewer."
        )
    if not 0 <= cooldown_s <= _LONGEST_COOLDOWN_S:
        raise DataError(f"a cooldown is from 0 to {_LONGEST_COOLDOWN_S:,} seconds, not {cooldown_s:g}.")
    if not 0 < margin < 1:
        raise DataError(f"the margin is a fraction between 0 and 1, not {margin}.")
    if new_tokens is not None and new_tokens < 1:
        raise DataError(f"an answer of {new_tokens} tokens cannot be timed.")
    if new_tokens is not None and new_tokens > MOST_TOKENS:
        raise DataError(f"an answer has at most {MOST_TOKENS:,} tokens here, not {new_tokens:,}.")
