"""What an evaluation needs before the first answer: model, prompts, and the configuration they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.bbq.item import Item
from mlx_prune.bbq.subset import limit_items
from mlx_prune.bbq.words import PUBLISHED, PromptWords
from mlx_prune.chat.tokenizer import ending_also_at
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.checkpoint.invented import QUESTIONS, warnings_for
from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError
from mlx_prune.generation.engines import make_engine
from mlx_prune.generation.interface import Engine, GenerationSettings, Prompt
from mlx_prune.paths import short_name
from mlx_prune.progress import ProgressCallback
from mlx_prune.runs.fingerprint import model_fingerprint, tokens_fingerprint
from mlx_prune.runs.items import items_fingerprint
from mlx_prune.runs.questions import Questions
from mlx_prune.runs.session import configuration_hash
from mlx_prune.runs.settings import Generation


@dataclass(frozen=True)
class Job:
    """Everything that is fixed before the first answer.

    Attributes:
        loaded: The model, with a tokenizer that ends answers where its chat template ends turns.
        items: The questions, in order.
        prompts: Their prompts, by item id.
        words: What the prompts say around the questions.
        settings: How answers are drawn.
        engine: What draws them.
        stamp: The model's columns in the records.
        configuration: What the records depend on.
        every: All items that the source holds.
        about: What else ``run.json`` tells.
    """

    loaded: LoadedModel
    items: list[Item]
    prompts: dict[str, Prompt]
    words: PromptWords
    settings: GenerationSettings
    engine: Engine
    stamp: Configuration
    configuration: dict[str, Any]
    every: list[Item]
    about: dict[str, Any]

    def pairs(self) -> list[tuple[str, int]]:
        """(item id, seed) of every record, in order."""
        return [(item.item_id, seed) for item in self.items for seed in self.settings.seeds]

    def extends(self, found: Mapping[str, Any]) -> bool:
        """Whether a run of this configuration asked a part of these items, and agrees in all else."""
        smaller = found.get("limit")
        if not isinstance(smaller, int) or isinstance(smaller, bool) or not smaller > 0:
            return False
        asked = limit_items(self.every, smaller)
        if len(asked) >= len(self.items) or any(item.item_id not in self.prompts for item in asked):
            return False
        of_asked = {
            "limit": smaller,
            "items": items_fingerprint(asked),
            "prompts": tokens_fingerprint(self.prompts[item.item_id].tokens for item in asked),
        }
        return configuration_hash(found) == configuration_hash({**self.configuration, **of_asked})


def open_model(model: LoadedModel | str | Path, dtype: str, trust_remote_code: bool) -> LoadedModel:
    """Load a model by name, or take one that is loaded; see ``evaluate``."""
    if isinstance(model, str | Path):
        return checkpoints.load(model, dtype=dtype, trust_remote_code=trust_remote_code)
    if dtype not in ("auto", model.dtype) or trust_remote_code:
        raise DataError("dtype and trust_remote_code are for loading; this model is loaded already.")
    return model


def prepare(
    loaded: LoadedModel,
    questions: Questions,
    generation: Generation,
    stamp: Configuration | None,
    report: ProgressCallback,
) -> Job:
    """Build the prompts and the engine, and write down the configuration; see ``evaluate``."""
    items, words = questions.items, questions.words
    settings = dataclasses.replace(generation.settings, letters=words.letters)
    prompts = questions.prompts(
        loaded.tokenizer, generation.thinking, limits_of(loaded.config), settings.max_tokens, report
    )
    loaded = dataclasses.replace(loaded, tokenizer=ending_also_at(loaded.tokenizer, prompts.end_tokens))
    stamp = stamp or read_stamp(loaded)
    configuration = {
        **stamp.columns,
        "weights": model_fingerprint(loaded.model),
        "dtype": loaded.dtype,
        **questions.source,
        "items": questions.fingerprint,
        "prompts": prompts.fingerprint,
        "end_tokens": sorted(loaded.tokenizer.eos_token_ids),
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "seeds": list(settings.seeds),
        "noise": settings.noise,
        "engine": generation.engine,
    }
    if words != PUBLISHED:
        configuration["words"] = words.to_json()
    engine = make_engine(
        generation.engine, loaded.model, loaded.tokenizer, settings, batch_size=generation.batch_size
    )
    about = {
        "model_path": str(loaded.path),
        "prompt": prompts.about,
        "load_notes": list(loaded.notes),
        "items_without_target": sum(item.stereotype_target_index is None for item in items),
        "items_with_known_label_fault": sum(item.known_label_fault for item in items),
        "items_available": questions.available,
        "warnings": list(warnings_for(loaded, {QUESTIONS: questions.source["bbq"]})),
    }
    return Job(
        loaded, items, prompts.by_id, words, settings, engine, stamp, configuration, questions.every, about
    )


def read_stamp(loaded: LoadedModel) -> Configuration:
    """The model's columns, from the ``pruning_meta.json`` in its folder; dense where there is none.

    Raises:
        CheckpointError: The file is damaged or of a newer version.
    """
    record = PruningRecord.find(loaded.path, needed=("model", "method", "target_sparsity"))
    if record is None:
        return Configuration(short_name(loaded.name, loaded.path))
    return dataclasses.replace(record.configuration, model=short_name(str(record.model), loaded.path))
