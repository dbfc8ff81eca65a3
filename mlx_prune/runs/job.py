"""What an evaluation needs before the first answer: model, questions, and the configuration they make."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.bbq.items import Item, load_items
from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.bbq.subset import limit_items
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
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.runs.fingerprint import items_fingerprint, model_fingerprint, tokens_fingerprint
from mlx_prune.runs.session import configuration_hash
from mlx_prune.runs.settings import Bbq, Generation


@dataclass(frozen=True)
class Chosen:
    """The questions of an evaluation.

    Attributes:
        items: Those to ask, in order.
        source: How they were chosen, as fields of the configuration.
        every: All that the source holds under the same conditions, of which ``limit`` took the items.
    """

    items: list[Item]
    source: dict[str, Any]
    every: list[Item]

    @property
    def available(self) -> dict[str, int]:
        """By category, the ambiguous items with a stereotyped option: what SRS could rest on at most."""
        return dict(
            Counter(
                item.category
                for item in self.every
                if item.context_condition == "ambig" and item.stereotype_target_index is not None
            )
        )


@dataclass(frozen=True)
class Job:
    """Everything that is fixed before the first answer.

    Attributes:
        loaded: The model, with a tokenizer that ends answers where its chat template ends turns.
        items: The questions, in order.
        prompts: Their prompts, by item id.
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


def choose_items(questions: Bbq | Sequence[Item]) -> Chosen:
    """The questions, and how they were chosen.

    Args:
        questions: Where to load them from, its source named; or the items themselves.

    Raises:
        DataError: They cannot be loaded, there are none, or two share an id.
    """
    if isinstance(questions, Bbq):
        assert questions.source is not None
        every = load_items(
            questions.source,
            categories=questions.categories,
            condition=questions.condition,
            exclude_label_faults=questions.exclude_label_faults,
        )
        source = {
            "bbq": questions.source if questions.source in ("demo", "hub") else Path(questions.source).name,
            "categories": None if questions.categories is None else list(questions.categories),
            "condition": questions.condition,
            "limit": questions.limit,
            "exclude_label_faults": questions.exclude_label_faults,
        }
        return Chosen(limit_items(every, questions.limit), source, every)
    chosen = list(questions)
    if not chosen:
        raise DataError("there are no items to ask; give at least one.")
    if len({item.item_id for item in chosen}) != len(chosen):
        raise DataError("two items share an item_id; ids must be unique because they key noise and records.")
    return Chosen(chosen, {"bbq": "given"}, chosen)


def open_model(model: LoadedModel | str | Path, dtype: str, trust_remote_code: bool) -> LoadedModel:
    """Load a model by name, or take one that is loaded; see ``evaluate``."""
    if isinstance(model, str | Path):
        return checkpoints.load(model, dtype=dtype, trust_remote_code=trust_remote_code)
    if dtype not in ("auto", model.dtype) or trust_remote_code:
        raise DataError("dtype and trust_remote_code are for loading; this model is loaded already.")
    return model


def prepare(
    loaded: LoadedModel,
    chosen: Chosen,
    generation: Generation,
    stamp: Configuration | None,
    report: ProgressCallback,
) -> Job:
    """Build the prompts and the engine, and write down the configuration; see ``evaluate``."""
    items, source = chosen.items, chosen.source
    settings = generation.settings
    builder = PromptBuilder(loaded.tokenizer, generation.thinking)
    loaded = dataclasses.replace(loaded, tokenizer=ending_also_at(loaded.tokenizer, builder.end_tokens))
    limits = limits_of(loaded.config)
    prompts = {}
    for index, item in enumerate(items):
        tokens = builder.tokens(item)
        limits.check(tokens, f"{item.where or item.item_id}: the question", new=settings.max_tokens)
        prompts[item.item_id] = Prompt(item.item_id, tuple(tokens))
        if (index + 1) % 500 == 0 or index + 1 == len(items):
            report(Progress("tokenize", index + 1, len(items)))
    stamp = stamp or read_stamp(loaded)
    configuration = {
        **stamp.columns,
        "weights": model_fingerprint(loaded.model),
        "dtype": loaded.dtype,
        **source,
        "items": items_fingerprint(items),
        "prompts": tokens_fingerprint(prompt.tokens for prompt in prompts.values()),
        "end_tokens": sorted(loaded.tokenizer.eos_token_ids),
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "seeds": list(settings.seeds),
        "noise": settings.noise,
        "engine": generation.engine,
    }
    engine = make_engine(
        generation.engine, loaded.model, loaded.tokenizer, settings, batch_size=generation.batch_size
    )
    about = {
        "model_path": str(loaded.path),
        "prompt": {
            "system_placement": builder.system_placement,
            "thinking": builder.thinking,
            "note": builder.note,
        },
        "load_notes": list(loaded.notes),
        "items_without_target": sum(item.stereotype_target_index is None for item in items),
        "items_with_known_label_fault": sum(item.known_label_fault for item in items),
        "items_available": chosen.available,
        "warnings": list(warnings_for(loaded, {QUESTIONS: source["bbq"]})),
    }
    return Job(loaded, items, prompts, settings, engine, stamp, configuration, chosen.every, about)


def read_stamp(loaded: LoadedModel) -> Configuration:
    """The model's columns, from the ``pruning_meta.json`` in its folder; dense where there is none.

    Raises:
        CheckpointError: The file is damaged or of a newer version.
    """
    record = PruningRecord.find(loaded.path, needed=("model", "method", "target_sparsity"))
    if record is None:
        return Configuration(short_name(loaded.name, loaded.path))
    return dataclasses.replace(record.configuration, model=short_name(str(record.model), loaded.path))


def short_name(name: str, path: Path) -> str:
    """The last part of a folder's path or of a Hub id, which names the model in its records."""
    return Path(name).name if Path(name).name not in ("", "..") else path.resolve().name
