"""The files from which a recovery that was stopped carries on; needs no MLX."""

from __future__ import annotations

from pathlib import Path

STATE_FILE = "recovery-state.safetensors"
FIRST_STEP_FILE = "first-step.safetensors"


def is_carried_on(folder: Path) -> bool:
    """Whether a folder in the making holds one of them."""
    return any((folder / file).is_file() for file in (STATE_FILE, FIRST_STEP_FILE))
