"""A study run to its end, and what it told of its configurations."""

from __future__ import annotations

from pathlib import Path

from mlx_prune.study.config import StudyConfig
from mlx_prune.study.runner import StudyEvent, run_study


def states(config: StudyConfig, folder: Path) -> list[tuple[str, str]]:
    """Folder and last state of each configuration: done now, or there already."""
    events: list[StudyEvent] = []
    run_study(config, folder, watch=events.append)
    return [(event.name.folder, event.state) for event in events if event.state != "running"]
