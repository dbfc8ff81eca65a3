"""``study.toml`` as it lies in a study's folder, for who reads a study without running it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_prune.errors import RecordsError

STUDY_FILE = "study.toml"


def read_settings(folder: Path) -> dict[str, Any]:
    """What ``study.toml`` says; nothing where there is none.

    Raises:
        RecordsError: If it cannot be read.
    """
    path = folder / STUDY_FILE
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise RecordsError(f"{path} cannot be read ({error}); restore it, or remove it.") from error


def table_of(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One table of ``study.toml``; empty where there is none."""
    found = settings.get(name)
    return found if isinstance(found, dict) else {}
