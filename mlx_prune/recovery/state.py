"""The state of a training on disk, from which a killed one carries on: one file, whole or absent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_prune.recovery.files import STATE_FILE
from mlx_prune.store import complete_file

_ENTRY = "recovery"


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
    """Write the state.

    Raises:
        RecordsError: The disk is full or the folder cannot be written.
    """
    write_arrays(folder / STATE_FILE, arrays, progressed.fingerprint, asdict(progressed))


def read_state(folder: Path, fingerprint: str) -> tuple[Progressed, dict[str, mx.array]] | None:
    """The state that an earlier attempt at the same left, if there is one."""
    found = read_arrays(folder / STATE_FILE, fingerprint)
    return None if found is None else (Progressed(**found[0]), found[1])


def write_arrays(file: Path, arrays: dict[str, mx.array], fingerprint: str, content: dict[str, Any]) -> None:
    """Write arrays, and what goes with them as the file's metadata, whole or not at all.

    Raises:
        RecordsError: The disk is full or the folder cannot be written.
    """
    mx.eval(arrays)
    with complete_file(file) as opened:
        mx.save_safetensors(opened, arrays, metadata={_ENTRY: json.dumps([fingerprint, content])})


def read_arrays(file: Path, fingerprint: str) -> tuple[dict[str, Any], dict[str, mx.array]] | None:
    """What :func:`write_arrays` wrote under this fingerprint; None where there is none or it is damaged."""
    if not file.is_file():
        return None
    try:
        loaded: Any = mx.load(str(file), return_metadata=True)
        arrays, metadata = loaded
        known, content = json.loads(metadata[_ENTRY])
        mx.eval(arrays)
    except (RuntimeError, ValueError, KeyError, TypeError):
        return None  # damaged by something else than a kill: it is made again
    return (content, arrays) if known == fingerprint else None
