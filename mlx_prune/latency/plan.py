"""What a latency run times, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.bbq.items import Item, load_items
from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.bbq.wording import wording_of
from mlx_prune.environment import backend, physical_memory
from mlx_prune.errors import DataError
from mlx_prune.latency.facts import Workload
from mlx_prune.latency.settings import MOST_TOKENS, BenchSettings
from mlx_prune.words import size


@dataclass(frozen=True)
class Plan:
    """Prompts of all models.

    Attributes:
        workloads: The kinds of prompts.
        prompts: For every model, the token ids of every item, workload after workload.
        new_tokens: For every item, how many tokens to generate.
    """

    workloads: tuple[Workload, ...]
    prompts: tuple[tuple[tuple[int, ...], ...], ...]
    new_tokens: tuple[int, ...]


def bbq_plan(
    tokenizers: Sequence[Any], settings: BenchSettings, questions: Sequence[Item] | None = None
) -> Plan:
    """Ambiguous BBQ questions, rendered and tokenized as each model's own template and tokenizer do.

    They are spread evenly over the categories, and fewer than asked for only where the source has fewer.

    Args:
        tokenizers: One per model.
        settings: Where the questions come from, and how many.
        questions: The questions, if they were read already.

    Raises:
        DataError: The source cannot be read.
    """
    source = settings.questions or "demo"
    wording = settings.wording or wording_of(source)
    if questions is None:
        questions = load_items(source, limit=settings.items, wording=wording)
    prompts = []
    for tokenizer in tokenizers:
        # Whether a model would think does not matter to the clock.
        builder = PromptBuilder(tokenizer, "skip", wording.prompt)
        prompts.append(tuple(tuple(builder.tokens(question)) for question in questions))
    return _plan([("bbq", tuple(prompts))], settings.answer_tokens)


def synthetic_plan(vocabularies: Sequence[int], settings: BenchSettings) -> Plan:
    """Random prompts of fixed lengths, the same for all models.

    Args:
        vocabularies: Vocabulary size of each model; ids are valid in all of them.
        settings: The lengths, how many prompts of each, and the seed.

    Raises:
        DataError: The prompts hold more than :data:`MOST_TOKENS`.
    """
    items, tokens = settings.items, settings.items * sum(settings.prompt_lengths)
    if tokens > MOST_TOKENS:
        raise DataError(
            f"{items:,} prompts of these lengths hold {tokens:,} tokens, about {size(40 * tokens)} before "
            f"the first is timed; {MOST_TOKENS:,} tokens are the most, so choose fewer or shorter prompts."
        )
    rng = np.random.default_rng(settings.seed)
    groups = []
    for length in settings.prompt_lengths:
        drawn = rng.integers(0, min(vocabularies), (items, length)).tolist()
        groups.append((f"p{length}", (tuple(tuple(ids) for ids in drawn),) * len(vocabularies)))
    return _plan(groups, settings.answer_tokens)


def _plan(groups: Sequence[tuple[str, tuple[tuple[tuple[int, ...], ...], ...]]], new_tokens: int) -> Plan:
    workloads: list[Workload] = []
    first = 0
    for name, prompts in groups:
        lengths = tuple(tuple(len(ids) for ids in of_model) for of_model in prompts)
        workloads.append(Workload(name, first, len(prompts[0]), lengths, new_tokens))
        first += len(prompts[0])
    joined = tuple(
        tuple(ids for _, prompts in groups for ids in prompts[model]) for model in range(len(groups[0][1]))
    )
    return Plan(tuple(workloads), joined, (new_tokens,) * first)


def interleaved_round(models: int, items: int, number: int, seed: int) -> Iterator[tuple[int, int]]:
    """One round of (item, model): items in random order, and at each item all models in random order.

    Every odd round takes each item's models in the reverse order of the round before, so that whoever comes
    first gains nothing by it.
    """
    items_in_order = np.random.default_rng((seed, number)).permutation(items)
    orders = np.random.default_rng((seed, number // 2, 1)).permuted(
        np.tile(np.arange(models), (items, 1)), axis=1
    )
    for item in items_in_order.tolist():
        order = orders[item][::-1] if number % 2 else orders[item]
        for model in order.tolist():
            yield item, model


def block_round(models: int) -> Iterator[tuple[int, int]]:
    """One round of (visit, model): through all models and back, ABBA for two."""
    for model in range(models):
        yield 0, model
    for model in reversed(range(models)):
        yield 1, model


def item_order(items: int, number: int, block: int, seed: int) -> list[int]:
    """The order of the items inside one block of one round."""
    order: list[int] = np.random.default_rng((seed, number, 2, block)).permutation(items).tolist()
    return order


def choose_schedule(wanted: str, weights: Sequence[int]) -> str:
    """Unless told, interleave models whose weights fit in memory with a third to spare; else run blocks.

    Args:
        wanted: One of :data:`~mlx_prune.latency.settings.SCHEDULES`.
        weights: Bytes of each model in memory.
    """
    if wanted != "auto":
        return wanted
    return "interleaved" if 1.5 * sum(weights) <= available_memory() else "blocks"


def available_memory() -> int:
    """Bytes that models may take at the moment, as far as the system tells."""
    if backend() != "cpu":
        told = mx.device_info()
        for key in ("free_memory", "max_recommended_working_set_size", "total_memory"):
            if key in told:
                return int(told[key])
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return physical_memory() // 2
