"""What a study will take, before it is run: records, time, memory, disk and downloads. No model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_prune.activations.text import DEFAULT_LENGTH as CALIBRATION_LENGTH
from mlx_prune.activations.text import DEFAULT_SAMPLES as CALIBRATION_SAMPLES
from mlx_prune.bbq.hub import hub_count
from mlx_prune.bbq.items import load_items
from mlx_prune.checkpoint.preview import Preview, preview
from mlx_prune.configuration import Configuration
from mlx_prune.dtypes import FLOATS, WIDTHS
from mlx_prune.environment import backend
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.perplexity import DEFAULT_LENGTH, DEFAULT_SEQUENCES
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.data import from_the_hub, with_named_data, wording
from mlx_prune.study.finished import is_finished
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.recipes import recipe_of

# A record with its answer, probabilities and counts, compressed; about what runs of thousands take.
_RECORD_BYTES = 24
# Forward passes over the calibration text that a recipe with activations needs.
_PASSES = {"sequential": 2, "dense": 1}
_WIDTH = {name: WIDTHS[stored] for stored, name in FLOATS.items()}


@dataclass(frozen=True)
class ModelPlan:
    """What one model of a study will take; what is not known is None.

    Attributes:
        model: As the study names it.
        configurations: Dense and recipes.
        unfinished: How many of them are still to be run.
        records: Answers of all configurations.
        seconds: Expected time of the unfinished ones.
        memory_bytes: Weights of the dense and the pruned model, which are in memory together where they fit.
        disk_bytes: Records, and checkpoints: all if they are saved, else the one that is being measured.
        parameters: Of the dense model.
        download_bytes: What loading the dense model would download; 0 where it is on this machine.
        note: Why something is not known.
    """

    model: str
    configurations: int
    unfinished: int
    records: int
    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    parameters: int | None = None
    download_bytes: int | None = 0
    note: str = ""


@dataclass(frozen=True)
class StudyPlan:
    """What a study will take.

    Attributes:
        models: One entry per model.
        records: Answers of the whole study.
        seconds: Expected time of what is not finished; None where it is not known of every model.
        sampled: Questions that were asked to measure the rate; 0 where nothing was measured.
        data: Data sets that come from the Hub, as they are named.
        checkpoints: By name, what a checkpoint beside the grid would download; None where that is not known.
    """

    models: tuple[ModelPlan, ...]
    records: int
    seconds: float | None
    sampled: int
    data: tuple[str, ...] = ()
    checkpoints: dict[str, int | None] | None = None


def plan_study(
    config: StudyConfig,
    out: Path,
    *,
    measure: bool = False,
    trust_remote_code: bool = False,
    progress: ProgressCallback = silent,
) -> StudyPlan:
    """Reckon with configurations and headers of weight files; nothing is loaded, downloaded or written.

    The time follows from the finished parts of the same study, if there are any, or from a sample.

    Args:
        config: The study.
        out: Its folder, which may hold finished parts.
        measure: Load each model with unfinished parts after all, and time a short sample.
        trust_remote_code: Run Python code that comes with the models, to measure them.
        progress: Told about the step at hand.

    Raises:
        MlxPruneError: A model's folder or the items cannot be read.
    """
    config = with_named_data(config)
    count = _items(config)
    per_run = count * len(config.generation.seeds)
    models, asked = [], 0
    for model in config.models:
        names = config.configurations(model.label)
        study = StudyFolder(out)
        open_names = [name for name in names if not is_finished(config, study, name)]
        found = preview(model.path)
        seconds: float | None = 0.0
        if open_names and measure:
            seconds, asked = _measured(config, model.path, open_names, per_run, trust_remote_code, progress)
        elif open_names:
            rate = _rate(study, names)
            seconds = None if rate is None else rate * per_run * len(open_names)
        models.append(
            ModelPlan(
                model=model.label,
                configurations=len(names),
                unfinished=len(open_names),
                records=per_run * len(names),
                seconds=seconds,
                memory_bytes=_memory(config, found),
                disk_bytes=_disk(config, found, names, per_run),
                parameters=found.parameters,
                download_bytes=found.download_bytes,
                note=found.note,
            )
        )
    known = [model.seconds for model in models if model.seconds is not None]
    return StudyPlan(
        tuple(models),
        sum(model.records for model in models),
        sum(known) if len(known) == len(models) else None,
        asked,
        from_the_hub(config),
        {row.name: preview(row.path).download_bytes for row in config.checkpoints},
    )


def _items(config: StudyConfig) -> int:
    """How many questions are asked; those of the Hub are counted without being downloaded."""
    bbq = config.bbq
    assert bbq.source is not None
    if bbq.source == "hub":
        return hub_count(bbq.categories, bbq.condition, bbq.limit, bbq.exclude_label_faults)
    return len(
        load_items(
            bbq.source,
            categories=bbq.categories,
            condition=bbq.condition,
            limit=bbq.limit,
            exclude_label_faults=bbq.exclude_label_faults,
            wording=wording(config),
        )
    )


def _rate(study: StudyFolder, names: Sequence[Configuration]) -> float | None:
    """Seconds per record of the runs of a model that are there; None without any."""
    seconds, records = 0.0, 0
    for name in names:
        run = RunFolder(study.run(name).path)
        for session in run.about.entries.get("sessions", ()) if run.exists else ():
            seconds += float(session.get("seconds", 0.0))
            records += int(session.get("new_records", 0))
    return seconds / records if records else None


def _measured(
    config: StudyConfig,
    model: str,
    names: Sequence[Configuration],
    per_run: int,
    trust_remote_code: bool,
    progress: ProgressCallback,
) -> tuple[float, int]:
    """Expected seconds of configurations, from a sample; and how many questions it had."""
    from mlx_prune.checkpoint.limits import limits_of
    from mlx_prune.checkpoint.open import Checkpoint
    from mlx_prune.study.sampling import measure, sampled

    bbq = config.bbq
    assert bbq.source is not None
    items = load_items(
        bbq.source,
        categories=bbq.categories,
        condition=bbq.condition,
        limit=bbq.limit,
        wording=wording(config),
    )
    asked = sampled(items)
    took = measure(config, model, asked, trust_remote_code=trust_remote_code, progress=progress)
    positions = limits_of(Checkpoint(model).config).positions
    text = config.perplexity
    length = text.sequence_length or min(DEFAULT_LENGTH, positions or DEFAULT_LENGTH)
    fixed = took.token_s * length * (text.sequences or DEFAULT_SEQUENCES) if text.enabled else 0.0
    training = took.token_s * _training_tokens(config, positions)
    seconds = sum(
        took.record_s * per_run
        + fixed
        + took.token_s * _calibration_tokens(config, name, positions)
        + training * (not name.is_named and name.label.trained)
        for name in names
    )
    return seconds, len(asked)


def _calibration_tokens(config: StudyConfig, name: Configuration, positions: int | None) -> int:
    """Tokens of the forward passes over the calibration text."""
    recipe = recipe_of(config, name)
    if recipe is None or recipe.calibration is None:
        return 0
    text = recipe.calibration
    length = text.sequence_length or min(CALIBRATION_LENGTH, positions or CALIBRATION_LENGTH)
    return _PASSES[str(recipe.statistics)] * length * (text.samples or CALIBRATION_SAMPLES)


def _training_tokens(config: StudyConfig, positions: int | None) -> int:
    """Tokens of the forward passes of a recovery: a step is one of the teacher, three of the student."""
    settings = config.recover.settings
    length = settings.sequence_length or min(DEFAULT_LENGTH, positions or DEFAULT_LENGTH)
    return 4 * settings.steps * settings.batch_size * length


def _memory(config: StudyConfig, found: Preview) -> int | None:
    """Twice the weights in the type that the study computes in; thrice where a student has a teacher."""
    if found.n_bytes is None:
        return None
    asked, stored = config.generation.dtype, found.stored_dtype
    computed = ("float32" if backend() == "cpu" else stored) if asked == "auto" else asked
    wider = _WIDTH[computed] / _WIDTH[stored] if computed and stored else 1.0
    return int((3 if config.recovers else 2) * found.n_bytes * wider)


def _disk(config: StudyConfig, found: Preview, names: Sequence[Configuration], per_run: int) -> int | None:
    """Records, and checkpoints."""
    shares = [_disk_share(name, found.stored_dtype) for name in names[1:]]
    # Without saving, one checkpoint at a time that changes shapes or formats is on the disk.
    written = [share for name, share in zip(names[1:], shares, strict=True) if name.written]
    kept = sum(shares) if config.save_checkpoints else max(written, default=0.0)
    if kept and found.n_bytes is None:
        return None
    return per_run * len(names) * _RECORD_BYTES + int((found.n_bytes or 0) * kept)


def _disk_share(name: Configuration, stored: str | None) -> float:
    """About how large a configuration's weight files are, over the dense model's."""
    if name.is_named:
        return 0.0  # it is there already
    label = name.label
    share = 1 - name.sparsity / 100 if label.structured else 1.0
    if label.quantization is not None and label.quantization.bits is not None:
        # Half a bit per weight for scales and offsets.
        share *= (label.quantization.bits + 0.5) / (32 if stored == "float32" else 16)
    return share
