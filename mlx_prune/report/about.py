"""What a study folder says about itself: its name, what was asked, and on which machines and versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.runs.run_file import RUN_FILE, read_run_file
from mlx_prune.study.settings import read_settings, table_of

# What a run depends on that a reader of a report wants to know.
_SETTINGS = ("bbq", "engine", "temperature", "max_tokens", "seeds", "noise", "dtype")


@dataclass(frozen=True)
class StudyAbout:
    """What a study folder says about itself.

    Attributes:
        name: From ``study.toml``, or the folder's own.
        settings: How answers were drawn; values that differ between runs are listed together.
        versions: Distinct versions of each library over all runs.
        devices: Distinct machines.
        finished: Dates of the first and the last session, or empty.
        perplexity_text: What perplexity was measured on, or empty.
    """

    name: str
    settings: Mapping[str, str]
    versions: Mapping[str, str]
    devices: tuple[str, ...]
    finished: str
    perplexity_text: str


def read_about(folder: Path) -> StudyAbout:
    """Read ``study.toml`` and every ``run.json``; whatever is absent is left out.

    Raises:
        RecordsError: If one of the files is damaged.
    """
    config = read_settings(folder)
    paths = sorted(folder.glob(f"runs/*/*/{RUN_FILE}"))
    runs = [read_run_file(path) for path in paths]
    sessions = [session for run in runs for session in run.get("sessions", [])]
    days = sorted(str(session["finished"])[:10] for session in sessions if session.get("finished"))
    configurations = [run.get("configuration", {}) for run in runs]
    records = [*runs, *sessions]
    libraries = dict.fromkeys(name for entry in records for name in entry.get("versions", {}))
    return StudyAbout(
        name=str(config.get("name", folder.resolve().name)),
        settings={
            name: _together(entry.get(name) for entry in configurations)
            for name in _SETTINGS
            if any(entry.get(name) is not None for entry in configurations)
        },
        versions={name: _together(e.get("versions", {}).get(name) for e in records) for name in libraries},
        devices=tuple(dict.fromkeys(_device(entry["device"]) for entry in records if entry.get("device"))),
        finished=" to ".join(dict.fromkeys((days[0], days[-1]))) if days else "",
        perplexity_text=str(table_of(config, "perplexity").get("text", "")),
    )


def _together(values: Iterable[Any]) -> str:
    texts = dict.fromkeys(_text(value) for value in values if value is not None)
    return " / ".join(texts)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    # Where a folder of questions lies is nobody's business; its name says what it is.
    return Path(value).name if isinstance(value, str) and "/" in value else str(value)


def _device(device: Mapping[str, Any]) -> str:
    words = [str(device.get(name) or "") for name in ("machine", "device_name", "backend", "system")]
    return ", ".join(dict.fromkeys(word for word in words if word))
