"""The state of a training on disk, from which a killed one carries on: one file, whole or absent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_prune.store import complete_file

STATE_FILE = "recovery-state.safetensors"


@dataclass
class Progressed:
    """How far a training is.

    Attributes:
        fingerprint: Of all that it follows from; state of another is not used.
        step: Updates done.
        evaluations: Held-out losses so far, each with its step.
        since_best: Evaluations since the best one.
        best_step: The step of the best one.
        seconds: Spent so far.
        peak_memory_bytes: Highest memory MLX held.
        finished: Nothing is left to train.
    """

    fingerprint: str
    step: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    since_best: int = 0
    best_step: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    finished: bool = False


def write_state(folder: Path, progressed: Progressed, arrays: dict[str, mx.array]) -> None:
    """Write the state: its arrays, and beside them the rest as the file's metadata.

    Raises:
        RecordsError: The disk is full or the folder cannot be written.
    """
    mx.eval(arrays)
    with complete_file(folder / STATE_FILE) as file:
        mx.save_safetensors(file, arrays, metadata={"progressed": json.dumps(asdict(progressed))})


def read_state(folder: Path, fingerprint: str) -> tuple[Progressed, dict[str, mx.array]] | None:
    """The state that an earlier attempt at the same left, if there is one."""
    file = folder / STATE_FILE
    if not file.is_file():
        return None
    try:
        loaded: Any = mx.load(str(file), return_metadata=True)
        arrays, metadata = loaded
        progressed = Progressed(**json.loads(metadata["progressed"]))
        mx.eval(arrays)
    except (RuntimeError, ValueError, KeyError, TypeError):
        return None  # of another version, or damaged by something else than a kill: training starts over
    return (progressed, arrays) if progressed.fingerprint == fingerprint else None
