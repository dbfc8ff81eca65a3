"""A short measured sample of a model, from which the time of a study is reckoned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_prune.bbq.item import Item
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.progress import ProgressCallback
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.perplexity import DEFAULT_LENGTH
from mlx_prune.runs.questions import choose_items
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.data import wording

SAMPLED_ITEMS = 40


@dataclass(frozen=True)
class Sample:
    """What a model took.

    Attributes:
        record_s: Seconds per record.
        token_s: Seconds per token of one forward pass.
    """

    record_s: float
    token_s: float


def sampled(items: Sequence[Item]) -> list[Item]:
    """A few questions of every kind."""
    return list(items[:: max(1, len(items) // SAMPLED_ITEMS)][:SAMPLED_ITEMS])


def measure(
    config: StudyConfig,
    model: str | Path,
    items: Sequence[Item],
    *,
    trust_remote_code: bool,
    progress: ProgressCallback,
) -> Sample:
    """Load a model and time the engine that the study will use.

    Args:
        config: The study.
        model: A folder, a Hub id or "demo".
        items: What to ask.
        trust_remote_code: Run Python code that comes with the model.
        progress: Told about the step at hand.

    Raises:
        MlxPruneError: The model cannot be loaded, or not be asked.
    """
    loaded = checkpoints.load(model, dtype=config.generation.dtype, trust_remote_code=trust_remote_code)
    questions = choose_items(items, wording(config).prompt)
    asked = evaluate(loaded, questions=questions, generation=config.generation, progress=progress)
    longest = limits_of(loaded.config).positions or DEFAULT_LENGTH
    tokens = mx.zeros((1, min(DEFAULT_LENGTH, longest)), mx.int32)
    mx.eval(loaded.model(tokens))
    start = time.perf_counter()
    mx.eval(loaded.model(tokens))
    return Sample(asked.seconds / int(asked.table.num_rows), (time.perf_counter() - start) / int(tokens.size))
