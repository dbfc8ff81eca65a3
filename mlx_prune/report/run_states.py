"""How far each configuration of a study is: its answers complete, begun, or not begun.

A report counts complete configurations only. The rate of the first eight answers is no estimate of all sixty,
which come category by category.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.configuration import Configuration
from mlx_prune.errors import MlxPruneError
from mlx_prune.runs.records import count_records
from mlx_prune.runs.run_file import RUN_FILE, read_run_file
from mlx_prune.stats.outcomes import configuration_order
from mlx_prune.study.config import config_from_dict
from mlx_prune.study.settings import STUDY_FILE

COMPLETE, UNFINISHED, NOT_BEGUN = "complete", "unfinished", "not begun"


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
    runs = [path for path in sorted(folder.glob("runs/*/*")) if path.is_dir()]
    about = {run: _about(run) for run in runs}
    asked = [entry for entry in about.values() if _records(entry) is not None]
    found = [_state(run, about[run], asked) for run in runs]
    known = {state.configuration for state in found}
    found += [RunState(name, NOT_BEGUN, 0) for name in _grid(folder) if name not in known]
    return sorted(found, key=lambda state: configuration_order(state.configuration))


def _about(run: Path) -> dict[str, Any]:
    file = run / RUN_FILE
    return read_run_file(file) if file.is_file() else {}


def _state(run: Path, about: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> RunState:
    answers = count_records(run)
    total = _records(about)
    # Records alone, as another tool may write them, are taken as they are.
    complete = answers > 0 and (
        not about or (about.get("status", COMPLETE) == COMPLETE and answers >= (total or 0))
    )
    if not complete and total is None:
        total = next((_records(other) for other in asked if _alike(about, other)), None)
    state = COMPLETE if complete else UNFINISHED
    return RunState(_configuration(run, about), state, answers, total, run)


def _records(about: Mapping[str, Any]) -> int | None:
    found: int | None = about.get("totals", {}).get("records")
    return found


def _alike(about: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs ask the same questions under the same seeds."""
    mine, theirs = about.get("configuration", {}), other.get("configuration", {})
    return all(key in mine and mine[key] == theirs.get(key) for key in ("items", "seeds"))


def _configuration(run: Path, about: Mapping[str, Any]) -> Configuration:
    """From ``run.json``, or else from the names of the folders."""
    said = about.get("configuration", {})
    if "prune_method" in said:
        return Configuration.of(said)
    method, _, rest = run.name.rpartition("-s")
    sparsity, _, pattern = rest.partition("-")
    try:
        named = float(sparsity)
    except ValueError:
        method, named = run.name, 0.0
    return Configuration(run.parent.name, method, named, pattern.replace("of", ":") or None)


def _grid(folder: Path) -> Iterator[Configuration]:
    """What the study's file asks for, where it says so in full, as every study that was run does."""
    try:
        data = tomllib.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))
        config = config_from_dict(data) if "grid" in data else None
    except (OSError, ValueError, MlxPruneError):
        return
    for model in config.models if config else ():
        yield from config.configurations(Path(model).name) if config else ()
