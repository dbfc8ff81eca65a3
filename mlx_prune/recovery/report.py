"""What a recovery did, as an entry of pruning_meta.json beside what pruning did."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_prune.cards.base import shown_name
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.environment import device, versions
from mlx_prune.hub_data import is_hub
from mlx_prune.labels import recovered_label
from mlx_prune.outside_names import plain
from mlx_prune.recovery.data import TrainingData
from mlx_prune.recovery.first_step import FirstStep
from mlx_prune.recovery.losses import HeldOut
from mlx_prune.recovery.settings import Recovery
from mlx_prune.recovery.state import Progressed
from mlx_prune.registry import options_of


def recovered_record(
    pruned: PruningRecord,
    settings: Recovery,
    *,
    student: str,
    teacher: str | None,
    data: TrainingData,
    progressed: Progressed,
    first: FirstStep | None,
    rate: float,
    losses: Mapping[str, HeldOut],
    seconds: float,
    compute: str,
    fingerprint: str,
    adapter_bytes: int | None = None,
) -> PruningRecord:
    """The record of a recovered checkpoint: that of the pruned one, and how it was trained.

    What was measured of the pruned checkpoint is left out: it is no property of this one.

    Args:
        pruned: The record of what was recovered.
        settings: How.
        student: What the user called it.
        teacher: What the user called the dense model, if there was one.
        data: What was learned from.
        progressed: How training went.
        first: What was done before it, if anything.
        rate: The learning rate at its highest.
        losses: On the held-out part.
        seconds: All of it took.
        compute: The type that was computed in.
        fingerprint: Of all that the result follows from.
        adapter_bytes: Of the file of updates that were left beside the weights.
    """
    tokens = settings.batch_size * (data.train.shape[1] - 1)
    entry = {
        "teacher": teacher,
        "loss": settings.loss,
        "first_step": None if first is None else first.to_json(),
        "full": settings.full,
        "rank": None if settings.full else settings.rank,
        "learning_rate": rate,
        "batch_size": settings.batch_size,
        "grad_checkpoint": settings.grad_checkpoint,
        "mask_prompt": settings.mask_prompt,
        "adapter_bytes": adapter_bytes,
        "seed": settings.seed,
        "data": data.describe(),
        "steps": progressed.best_step,
        "steps_tried": progressed.step,
        "tokens": progressed.step * tokens,
        "held_out": {name: found.to_json() for name, found in losses.items()},
        "evaluations": progressed.evaluations,
        "recover_time_s": round(seconds, 3),
        "peak_memory_bytes": progressed.peak_memory_bytes,
        "dtype": compute,
        "command": command_of(settings, student, teacher, data.source),
        "versions": versions(),
        "device": dict(device()),
        "fingerprint": fingerprint,
    }
    label = recovered_label(pruned.method or "")
    return pruned.without("results").with_entries(method=label, recovery=entry)


def command_of(settings: Recovery, student: str, teacher: str | None, source: str) -> str:
    """Every option away from its default, as given to ``mlxprune recover``; of paths, only the names."""
    words = ["mlxprune recover", _word(shown_name(student)), "-o OUT"]
    if teacher is not None:
        words.append(f"--teacher {_word(shown_name(teacher))}")
    words.append(f"--data {_word(source if is_hub(source) else Path(source).name)}")
    for name, (field, _) in options_of(Recovery).items():
        value = getattr(settings, field.name)
        if value != field.default:
            flag = f"--{name.replace('_', '-')}"
            words.append(flag if value is True else f"{flag} {_word(str(value))}")
    return " ".join(words)


def _word(text: Any) -> str:
    return shlex.quote(plain(str(text)))
