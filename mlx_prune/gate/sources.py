"""Read what a gate compares from run folders and study folders; files only, MLX not needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlx_prune.checkpoint.invented import run_warnings
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.gate.judge import Measured, PerplexityFigure
from mlx_prune.labels import DENSE
from mlx_prune.runs.records import read_records
from mlx_prune.runs.run_file import RUN_FILE, read_run_file
from mlx_prune.stats.counting import count_run
from mlx_prune.stats.paired_perplexity import SequenceLosses
from mlx_prune.study.results import PERPLEXITY_FILE, read_results

RUNS_FOLDER = "runs"


def is_run(path: Path) -> bool:
    """Whether a folder is a run's."""
    return (path / RUN_FILE).is_file()


def is_study(path: Path) -> bool:
    """Whether a folder is a study's."""
    return (path / RUNS_FOLDER).is_dir()


def measured_run(run: Path) -> Measured:
    """The answers of a run; its perplexity too, if the run is part of a study that measured it.

    Raises:
        RecordsError: The run is unfinished or damaged.
    """
    about = read_run_file(run / RUN_FILE)
    if about.get("status", "complete") != "complete":
        raise RecordsError(f"the run {run} is not finished; run the same command again to complete it.")
    table = read_records(run)
    if not table.num_rows:
        raise RecordsError(f"{run} holds no records; evaluate the model first.")
    counted = count_run(table)
    resolved = run.resolve()
    inside = resolved.parent.parent.name == RUNS_FOLDER
    configuration = about.get("configuration")
    if configuration is None:
        raise RecordsError(f"{run / RUN_FILE} tells no configuration; redo the run with --force.")
    # Beside the records where a gate measured it, in the study's own file where a study did.
    rows = read_results(run / PERPLEXITY_FILE)
    if inside:
        rows += read_results(resolved.parents[2] / PERPLEXITY_FILE)
    row = next((row for row in rows if Configuration.of(row) == counted.configuration), {})
    return Measured(
        f"{resolved.parent.name}/{resolved.name}" if inside else resolved.name,
        counted,
        perplexity_figure(row) if row else None,
        configuration,
        _counts(about.get("items_available")),
        run_warnings(configuration, row.get("text")),
    )


def study_runs(study: Path, wanted: tuple[str, ...] = ()) -> list[tuple[Path, Path]]:
    """The (dense, candidate) run folders of a study.

    Args:
        study: The study folder.
        wanted: Candidates as ``wanda-s70`` or ``model/wanda-s70``; nothing takes every pruned one.

    Raises:
        RecordsError: A candidate is not in the study, a model has no dense run, or there is nothing to hold.
    """
    runs = sorted(path.parent for path in study.glob(f"{RUNS_FOLDER}/*/*/{RUN_FILE}"))
    dense = {run.parent.name: run for run in runs if run.name.startswith(f"{DENSE}-")}
    known = {f"{run.parent.name}/{run.name}": run for run in runs}
    for name in wanted:
        if not any(name in (path, run.name) for path, run in known.items()):
            there = ", ".join(dict.fromkeys(run.name for run in runs)) or "nothing"
            raise RecordsError(f"{study} has no {name}; it has {there}.")
    chosen = [
        run
        for path, run in known.items()
        if (path in wanted or run.name in wanted if wanted else run not in dense.values())
    ]
    if not chosen:
        raise RecordsError(f"{study} holds no pruned model to gate; run the study first.")
    lacking = next((run for run in chosen if run.parent.name not in dense), None)
    if lacking is not None:
        raise RecordsError(f"{study} has no dense run of {lacking.parent.name}; run the study again.")
    return [(dense[run.parent.name], run) for run in chosen]


def _counts(value: Any) -> dict[str, int]:
    """Counts by category; none where an earlier version left them out."""
    found = value.items() if isinstance(value, dict) else ()
    return {str(name): count for name, count in found if isinstance(count, int)}


def perplexity_figure(row: Mapping[str, Any]) -> PerplexityFigure:
    """A perplexity from its row in ``perplexity.json``; a null one overflowed."""
    value, error = row.get("perplexity"), row.get("standard_error")
    losses, tokens = row.get("sequence_nll"), int(row.get("tokens") or 0)
    return PerplexityFigure(
        math.inf if value is None else float(value),
        0.0 if error is None else float(error),
        tokens,
        None
        if not losses or tokens < len(losses)
        else SequenceLosses(
            np.array([math.inf if loss is None else loss for loss in losses], float),
            tokens // len(losses),
            tuple(row["sequence_hashes"]),
        ),
    )
