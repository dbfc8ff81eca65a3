"""What a gate compares: runs and studies that were made, read without MLX, and models questioned now."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.checkpoint.invented import run_warnings
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.gate.judge import Measured
from mlx_prune.labels import DENSE
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.runs.records import read_records
from mlx_prune.runs.run_file import RUN_FILE, read_run_file
from mlx_prune.runs.settings import Bbq, Generation
from mlx_prune.stats.counting import count_run
from mlx_prune.stats.perplexity import Perplexity
from mlx_prune.study.results import PERPLEXITY_FILE, ResultsFile, read_results

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
    row = next((row for row in rows if Configuration.of(row) == counted.configuration), None)
    return Measured(
        f"{resolved.parent.name}/{resolved.name}" if inside else resolved.name,
        counted,
        None if row is None else Perplexity.of(row),
        configuration,
        _counts(about.get("items_available")),
        run_warnings(configuration, None if row is None else row.get("text")),
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


@dataclass(frozen=True)
class Questions:
    """How a model is questioned now.

    Attributes:
        bbq: What it is asked; its source is named.
        generation: How it answers, and the type it is loaded in.
        text: For perplexity; None leaves it out.
        trust_remote_code: Whether Python code that comes with a model may run.
    """

    bbq: Bbq
    generation: Generation
    text: str | None
    trust_remote_code: bool


def questioned(model: str, run: Path | None, questions: Questions, progress: ProgressCallback) -> Measured:
    """Load a model, ask it, and measure its perplexity; with a run folder, answers there are not asked again.

    Raises:
        MlxPruneError: The model, the items or the text cannot be read.
    """
    from mlx_prune.checkpoint import open as checkpoints
    from mlx_prune.checkpoint.invented import HELD_OUT_TEXT, QUESTIONS, warnings_for
    from mlx_prune.runs.evaluate import evaluate
    from mlx_prune.runs.perplexity import perplexity

    def named(step: Progress) -> None:
        progress(dataclasses.replace(step, stage=f"{Path(model).name}: {step.stage}"))

    bbq, generation = questions.bbq, questions.generation
    loaded = checkpoints.load(model, dtype=generation.dtype, trust_remote_code=questions.trust_remote_code)
    answers = evaluate(loaded, run, questions=bbq, generation=generation, progress=named)
    counted, figure = count_run(answers.table), None
    if questions.text is not None:
        figure = perplexity(loaded, text=questions.text, progress=named)
        if run is not None:
            results = ResultsFile(run / PERPLEXITY_FILE)
            results.put(counted.configuration, text=questions.text, **figure.columns)
    return Measured(
        model,
        counted,
        figure,
        answers.info["configuration"],
        answers.info["items_available"],
        warnings_for(loaded, {QUESTIONS: bbq.source, HELD_OUT_TEXT: questions.text}),
    )
