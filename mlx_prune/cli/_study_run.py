"""Run a study with its view, and read back what it found; shared by ``demo`` and ``study``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlx_prune.cli._study_table import SummaryRow, summarize
from mlx_prune.cli._study_view import study_view

if TYPE_CHECKING:
    from mlx_prune.study.config import StudyConfig


def run_with_view(config: StudyConfig, out: Path, *, trust_remote_code: bool = False) -> None:
    """Run what is not finished, showing the grid on a terminal."""
    from mlx_prune.runs.job import short_name
    from mlx_prune.study.runner import run_study

    labels = [short_name(model, Path(model)) for model in config.models]
    with study_view(config, labels) as (progress, watch):
        run_study(config, out, trust_remote_code=trust_remote_code, progress=progress, watch=watch)


def finish(out: Path, min_answered: float) -> list[SummaryRow]:
    """The rows of a finished study; rates of a smaller share of answers than ``min_answered`` are marked."""
    from mlx_prune.report.data import read_study

    return summarize(out, read_study(out, min_answered=min_answered))
