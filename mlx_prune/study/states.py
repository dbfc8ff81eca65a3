"""How far each configuration of a study is: its answers complete, begun, or not begun.

A report counts complete configurations only. The rate of the first eight answers is no estimate of all sixty,
which come category by category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_prune.configuration import Configuration
from mlx_prune.runs.folder import COMPLETE, RunAbout, RunFolder
from mlx_prune.study.folder import StudyFolder

UNFINISHED, NOT_BEGUN = "unfinished", "not begun"


@dataclass(frozen=True)
class RunState:
    """How far one configuration is.

    Attributes:
        configuration: Which.
        state: :data:`COMPLETE`, :data:`UNFINISHED` or :data:`NOT_BEGUN`.
        answers: Records that there are.
        expected: Records that there will be; None where that cannot be told.
        path: The run's folder; None where it was not begun.
    """

    configuration: Configuration
    state: str
    answers: int
    expected: int | None = None
    path: Path | None = None


def run_states(folder: Path) -> list[RunState]:
    """How far every configuration of a study folder is, those of its grid that were not begun included.

    Raises:
        RecordsError: If a ``run.json`` or a file of records is damaged.
    """
    study = StudyFolder(folder)
    runs = study.runs()
    asked = [run.about for run in runs if run.about.totals.records is not None]
    found = [_state(run, asked) for run in runs]
    known = {state.configuration for state in found}
    config = study.config
    grid = [] if config is None else [n for m in config.models for n in config.configurations(m.label)]
    found += [RunState(name, NOT_BEGUN, 0) for name in grid if name not in known]
    return sorted(found, key=lambda state: state.configuration.order)


def _state(run: RunFolder, asked: Sequence[RunAbout]) -> RunState:
    about, answers = run.about, run.count()
    total = about.totals.records
    # Records alone, as another tool may write them, are taken as they are.
    complete = answers > 0 and (
        not about.entries or (about.status in (None, COMPLETE) and answers >= (total or 0))
    )
    if not complete and total is None:
        total = next((other.totals.records for other in asked if _alike(about, other)), None)
    return RunState(run.configuration, COMPLETE if complete else UNFINISHED, answers, total, run.path)


def _alike(about: RunAbout, other: RunAbout) -> bool:
    """Whether two runs ask the same questions under the same seeds."""
    return all(key in about.asked and about.asked[key] == other.asked.get(key) for key in ("items", "seeds"))
