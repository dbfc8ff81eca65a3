"""What a study will take, before it is run: records, time from a short measured sample, disk and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_prune.activations.text import DEFAULT_LENGTH as CALIBRATION_LENGTH
from mlx_prune.activations.text import DEFAULT_SAMPLES as CALIBRATION_SAMPLES
from mlx_prune.bbq.item import Item
from mlx_prune.bbq.items import load_items
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.configuration import Configuration
from mlx_prune.latency.timing import memory_bytes
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.perplexity import DEFAULT_LENGTH, DEFAULT_SEQUENCES
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.data import with_named_data
from mlx_prune.study.finished import is_finished
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.recipes import recipe_of

SAMPLED_ITEMS = 40
# A record with its answer, probabilities and counts, compressed; about what runs of thousands take.
_RECORD_BYTES = 24
# Forward passes over the calibration text that a recipe with activations needs.
_PASSES = {"sequential": 2, "dense": 1}


@dataclass(frozen=True)
class ModelPlan:
    """What one model of a study will take.

    Attributes:
        model: As the study names it.
        configurations: Dense and recipes.
        unfinished: How many of them are still to be run.
        records: Answers of all configurations.
        seconds: Expected time of the unfinished ones.
        memory_bytes: Weights of the dense and the pruned model, which are in memory together where they fit.
        disk_bytes: Records, and checkpoints: all if they are saved, else the one that is being measured.
    """

    model: str
    configurations: int
    unfinished: int
    records: int
    seconds: float
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class StudyPlan:
    """What a study will take.

    Attributes:
        models: One entry per model.
        records: Answers of the whole study.
        seconds: Expected time of what is not finished.
        sampled: Questions that were asked to measure the rate.
    """

    models: tuple[ModelPlan, ...]
    records: int
    seconds: float
    sampled: int


def plan_study(
    config: StudyConfig,
    out: Path,
    *,
    trust_remote_code: bool = False,
    progress: ProgressCallback = silent,
) -> StudyPlan:
    """Measure a short sample of each model and extrapolate; nothing is written.

    Args:
        config: The study.
        out: Its folder, which may hold finished parts.
        trust_remote_code: Run Python code that comes with the models.
        progress: Told about the step at hand.

    Raises:
        MlxPruneError: A model, a text or the items cannot be read.
    """
    config = with_named_data(config)
    assert config.bbq.source is not None
    items = load_items(
        config.bbq.source,
        categories=config.bbq.categories,
        condition=config.bbq.condition,
        limit=config.bbq.limit,
        exclude_label_faults=config.bbq.exclude_label_faults,
    )
    sample = items[:: max(1, len(items) // SAMPLED_ITEMS)][:SAMPLED_ITEMS]
    records = len(items) * len(config.generation.seeds)
    models = []
    for model in config.models:
        label = model.label
        names = config.configurations(label)
        open_names = [name for name in names if not is_finished(config, StudyFolder(out), name)]
        loaded = checkpoints.load(
            model.path, dtype=config.generation.dtype, trust_remote_code=trust_remote_code
        )
        answering = _answer_seconds(config, loaded, sample, progress) * records
        per_token = _forward_seconds_per_token(loaded)
        fixed = per_token * _perplexity_tokens(config, loaded) if config.perplexity.enabled else 0.0
        calibration = per_token * _calibration_tokens(config, loaded)
        training = per_token * _training_tokens(config, loaded)
        seconds = sum(
            answering
            + fixed
            + calibration * _passes(config, name)
            + training * (not name.is_named and name.label.recovered)
            for name in open_names
        )
        weights = memory_bytes(loaded.model)
        files = loaded.checkpoint.shards.nbytes
        shares = [_disk_share(name, loaded.checkpoint.stored_dtype) for name in names[1:]]
        # Without saving, one checkpoint at a time that changes shapes or formats is on the disk.
        written = [share for name, share in zip(names[1:], shares, strict=True) if name.written]
        saved = int(files * (sum(shares) if config.save_checkpoints else max(written, default=0)))
        models.append(
            ModelPlan(
                model=label,
                configurations=len(names),
                unfinished=len(open_names),
                records=records * len(names),
                seconds=seconds,
                # Student, teacher, and what the student computes with.
                memory_bytes=(3 if config.recovers else 2) * weights,
                disk_bytes=records * len(names) * _RECORD_BYTES + saved,
            )
        )
        del loaded
    return StudyPlan(
        tuple(models), sum(m.records for m in models), sum(m.seconds for m in models), len(sample)
    )


def _passes(config: StudyConfig, name: Configuration) -> int:
    recipe = recipe_of(config, name)
    return 0 if recipe is None or recipe.calibration is None else _PASSES[str(recipe.statistics)]


def _training_tokens(config: StudyConfig, loaded: LoadedModel) -> int:
    """Tokens of the forward passes of a recovery: a step is one of the teacher, three of the student."""
    settings = config.recover.settings
    longest = limits_of(loaded.config).positions or DEFAULT_LENGTH
    length = settings.sequence_length or min(DEFAULT_LENGTH, longest)
    return 4 * settings.steps * settings.batch_size * length


def _disk_share(name: Configuration, stored: str) -> float:
    """About how large a configuration's weight files are, over the dense model's."""
    if name.is_named:
        return 0.0  # it is there already
    label = name.label
    share = 1 - name.sparsity / 100 if label.structured else 1.0
    if label.quantization is not None and label.quantization.bits is not None:
        # Half a bit per weight for scales and offsets.
        share *= (label.quantization.bits + 0.5) / (32 if stored == "float32" else 16)
    return share


def _answer_seconds(
    config: StudyConfig, loaded: LoadedModel, sample: list[Item], progress: ProgressCallback
) -> float:
    """Seconds per record of the engine the study will use, on a few questions of every kind."""
    asked = evaluate(loaded, questions=sample, generation=config.generation, progress=progress)
    return asked.seconds / int(asked.table.num_rows)


def _forward_seconds_per_token(loaded: LoadedModel) -> float:
    longest = limits_of(loaded.config).positions or DEFAULT_LENGTH
    tokens = mx.zeros((1, min(DEFAULT_LENGTH, longest)), mx.int32)
    mx.eval(loaded.model(tokens))
    start = time.perf_counter()
    mx.eval(loaded.model(tokens))
    return (time.perf_counter() - start) / int(tokens.size)


def _perplexity_tokens(config: StudyConfig, loaded: LoadedModel) -> int:
    longest = limits_of(loaded.config).positions or DEFAULT_LENGTH
    length = config.perplexity.sequence_length or min(DEFAULT_LENGTH, longest)
    return length * (config.perplexity.sequences or DEFAULT_SEQUENCES)


def _calibration_tokens(config: StudyConfig, loaded: LoadedModel) -> int:
    longest = limits_of(loaded.config).positions or CALIBRATION_LENGTH
    length = config.calibration.sequence_length or min(CALIBRATION_LENGTH, longest)
    return length * (config.calibration.samples or CALIBRATION_SAMPLES)
