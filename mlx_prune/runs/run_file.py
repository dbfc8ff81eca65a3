"""``run.json``, read: what is wrong with it is told here, for everyone who reads it. Needs no MLX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_prune.errors import RecordsError
from mlx_prune.json_files import read_object

RUN_FILE = "run.json"

_ADVICE = "redo the run with --force"
_OBJECTS = ("configuration", "totals", "versions", "device", "prompt", "letters", "items_available")
_OF_SESSIONS = ("versions", "device")


def read_run_file(file: Path) -> dict[str, Any]:
    """The object in a ``run.json``, whose entries are of the kinds that runs write; any may be absent.

    Raises:
        RecordsError: It cannot be read, or an entry is of another kind.
    """
    data = read_object(file, RecordsError, _ADVICE)
    wrong = _wrong_kind(data)
    if wrong:
        raise RecordsError(f"{file} is damaged ({wrong}); {_ADVICE}.")
    return data


def _wrong_kind(data: Mapping[str, Any]) -> str:
    """The first entry of another kind; empty if there is none."""
    sessions = data.get("sessions", [])
    if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
        return "sessions is not a list of objects"
    for entries, names in ((data, _OBJECTS), *((session, _OF_SESSIONS) for session in sessions)):
        for name in names:
            if not isinstance(entries.get(name, {}), dict):
                return f"{name} is not an object"
    records = data.get("totals", {}).get("records")
    if records is not None and (not isinstance(records, int) or isinstance(records, bool) or records < 0):
        return "its number of records is not one"
    return _wrong_configuration(data.get("configuration", {}))


def _wrong_configuration(configuration: Mapping[str, Any]) -> str:
    if "prune_method" not in configuration:
        return ""
    for name in ("model", "prune_method"):
        if not isinstance(configuration.get(name), str):
            return f"{name} is not a text"
    sparsity = configuration.get("sparsity")
    if not isinstance(sparsity, int | float) or isinstance(sparsity, bool) or not 0 <= sparsity <= 100:
        return "sparsity is not a percentage"
    return "" if isinstance(configuration.get("pattern"), str | None) else "pattern is not a text"
