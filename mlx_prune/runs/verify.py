"""Replay some records through ``mlx_lm.stream_generate``, one prompt at a time, and compare."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from mlx_prune.bbq.words import PUBLISHED, PromptWords
from mlx_prune.generation.interface import GenerationSettings, Prompt
from mlx_prune.generation.sequential import SequentialEngine
from mlx_prune.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    from mlx_prune.checkpoint.open import LoadedModel


@dataclass(frozen=True)
class Disagreement:
    """A record whose replay gave another text."""

    item_id: str
    seed: int
    recorded: str
    replayed: str


@dataclass(frozen=True)
class Verification:
    """Agreement between records and their replay.

    Attributes:
        records: How many were replayed.
        identical: How many gave the same ``raw_response``.
        same_answer: How many gave the same parsed letter (or none both times).
        disagreements: The records that differ.
    """

    records: int
    identical: int
    same_answer: int
    disagreements: tuple[Disagreement, ...]


def verify_records(
    loaded: LoadedModel,
    table: pa.Table,
    prompts: Mapping[str, Prompt],
    settings: GenerationSettings,
    *,
    words: PromptWords = PUBLISHED,
    count: int,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Verification:
    """Replay random records of a run.

    Args:
        loaded: The model that answered.
        table: Its records.
        prompts: The prompt of every item id.
        settings: How the answers were drawn.
        words: Of the prompts, whose letters are read.
        count: How many records to replay; all of them if there are fewer.
        seed: Chooses which.
        progress: Called with stage "verify".
    """
    from mlx_prune.bbq.answers import parse_answer

    report = progress or silent
    picked = sorted(random.Random(seed).sample(range(table.num_rows), min(count, table.num_rows)))
    rows = table.select(["item_id", "seed", "raw_response"]).take(pa.array(picked, pa.int64())).to_pylist()
    engine = SequentialEngine(loaded.model, loaded.tokenizer, settings)
    identical = same_answer = 0
    disagreements = []
    for index, row in enumerate(rows, start=1):
        answer, _ = engine.one(prompts[row["item_id"]], row["seed"])
        identical += answer.text == row["raw_response"]
        same_answer += (
            parse_answer(answer.text, words).index == parse_answer(row["raw_response"], words).index
        )
        if answer.text != row["raw_response"]:
            disagreements.append(Disagreement(row["item_id"], row["seed"], row["raw_response"], answer.text))
        report(Progress("verify", index, len(rows)))
    return Verification(len(rows), identical, same_answer, tuple(disagreements))
