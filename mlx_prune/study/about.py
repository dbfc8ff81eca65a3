"""What a study folder says about itself: its name, what was asked, and on which machines and versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.runs.folder import RunAbout, Session
from mlx_prune.study.folder import StudyFolder

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
        differences: What makes checkpoints hard to compare with their dense model, as sentences.
    """

    name: str
    settings: Mapping[str, str]
    versions: Mapping[str, str]
    devices: tuple[str, ...]
    finished: str
    perplexity_text: str
    differences: tuple[str, ...] = ()


def read_about(folder: Path) -> StudyAbout:
    """Read ``study.toml`` and every ``run.json``; whatever is absent is left out.

    Raises:
        RecordsError: If one of the files is damaged.
    """
    study = StudyFolder(folder)
    runs = [run.about for run in study.runs()]
    sessions = [session for run in runs for session in run.sessions]
    days = sorted(session.finished[:10] for session in sessions if session.finished)
    asked = [run.asked for run in runs if run.configuration is not None]
    records: list[RunAbout | Session] = [*runs, *sessions]
    libraries = dict.fromkeys(name for entry in records for name in entry.versions)
    return StudyAbout(
        name=study.name,
        settings={
            name: _together(entry.get(name) for entry in asked)
            for name in _SETTINGS
            if any(entry.get(name) is not None for entry in asked)
        },
        versions={name: _together(e.versions.get(name) for e in records) for name in libraries},
        devices=tuple(dict.fromkeys(_device(e.device) for e in records if e.device)),
        finished=" to ".join(dict.fromkeys((days[0], days[-1]))) if days else "",
        perplexity_text=study.perplexity_text,
        differences=tuple(sentence for run in study.runs() for sentence in run.differences),
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
