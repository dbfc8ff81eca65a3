"""What a gate compares: runs and studies that were made, read without MLX, and models questioned now."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_prune.checkpoint.invented import run_warnings
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.gate.judge import Measured
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.settings import Bbq, Generation
from mlx_prune.stats.counting import count_run
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.questions import asked_items
from mlx_prune.study.results import DivergenceRow, PerplexityRow, divergences, perplexities

if TYPE_CHECKING:
    from mlx_prune.runs.divergence import DenseReference


def measured_run(run: Path) -> Measured:
    """The answers of a run; its perplexity too, if the run is part of a study that measured it.

    Raises:
        RecordsError: The run is unfinished or damaged.
    """
    folder, study = RunFolder(run), StudyFolder.around(run)
    about = folder.finished()
    table = folder.records()
    if not table.num_rows:
        raise RecordsError(f"{run} holds no records; evaluate the model first.")
    counted = count_run(table)
    # Beside the records where a gate measured it, in the study's own file where a study did.
    row = perplexities(run).get(counted.configuration)
    if row is None and study is not None:
        row = study.perplexities.get(counted.configuration)
    distance = divergences(run).get(counted.configuration)
    if distance is None and study is not None:
        distance = study.divergences.get(counted.configuration)
    resolved, asked = run.resolve(), about.asked
    return Measured(
        resolved.name if study is None else f"{resolved.parent.name}/{resolved.name}",
        counted,
        None if row is None else row.figure,
        asked,
        about.items_available,
        (*run_warnings(asked, None if row is None else row.text), *folder.differences),
        functools.partial(_groups, folder, study),
        None if distance is None else distance.figure,
    )


def _groups(run: RunFolder, study: StudyFolder | None) -> dict[str, str]:
    return {name: item.group for name, item in asked_items([run], study).by_id.items()}


def study_runs(study: Path, wanted: tuple[str, ...] = ()) -> list[tuple[Path, Path]]:
    """The (dense, candidate) run folders of a study.

    Args:
        study: The study folder.
        wanted: Candidates as ``wanda-s70`` or ``model/wanda-s70``, or by the name of a checkpoint; nothing
            takes every one but the dense.

    Raises:
        RecordsError: A candidate is not in the study, a model has no dense run, or there is nothing to hold.
    """
    runs = [run.path for run in StudyFolder(study).runs() if run.exists]
    dense = {run.parent.name: run for run in runs if run.name == Configuration("").folder}
    for name in wanted:
        if not any(name in _names(run) for run in runs):
            there = ", ".join(dict.fromkeys(run.name for run in runs)) or "nothing"
            raise RecordsError(f"{study} has no {name}; it has {there}.")
    chosen = [
        run for run in runs if (not _names(run).isdisjoint(wanted) if wanted else run not in dense.values())
    ]
    if not chosen:
        raise RecordsError(f"{study} holds no pruned model to gate; run the study first.")
    lacking = next((run for run in chosen if run.parent.name not in dense), None)
    if lacking is not None:
        raise RecordsError(f"{study} has no dense run of {lacking.parent.name}; run the study again.")
    return [(dense[run.parent.name], run) for run in chosen]


def _names(run: Path) -> set[str]:
    """What a run of a study is called: with or without its model, and without a sparsity of none."""
    names = {run.name, run.name.removesuffix("-s0")}
    return names | {f"{run.parent.name}/{name}" for name in names}


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


@dataclass
class Predictions:
    """What the dense model, which is measured first, predicts of the text; others are compared with it."""

    dense: DenseReference | None = None


def questioned(
    model: str,
    run: Path | None,
    questions: Questions,
    progress: ProgressCallback,
    predictions: Predictions | None = None,
) -> Measured:
    """Load a model, ask it, and measure it on the text; with a run folder, answers there are not asked again.

    Args:
        model: A folder, a Hub id, or "demo".
        run: Where to keep what is measured; None keeps nothing.
        questions: How it is questioned.
        progress: Told about the step at hand.
        predictions: Where distances are wanted: those of the dense model, or where its own go.

    Raises:
        MlxPruneError: The model, the items or the text cannot be read.
    """
    from mlx_prune.checkpoint import open as checkpoints
    from mlx_prune.checkpoint.invented import HELD_OUT_TEXT, QUESTIONS, warnings_for
    from mlx_prune.runs.divergence import DenseReference
    from mlx_prune.runs.evaluate import evaluate
    from mlx_prune.runs.perplexity import perplexity
    from mlx_prune.runs.questions import choose_items

    def named(step: Progress) -> None:
        progress(dataclasses.replace(step, stage=f"{Path(model).name}: {step.stage}"))

    bbq, generation = questions.bbq, questions.generation
    loaded = checkpoints.load(model, dtype=generation.dtype, trust_remote_code=questions.trust_remote_code)
    asked = choose_items(bbq)
    answers = evaluate(loaded, run, questions=asked, generation=generation, progress=named)
    counted, figure, distance = count_run(answers.table), None, None
    if questions.text is not None:
        if predictions is None:
            figure = perplexity(loaded, text=questions.text, progress=named)
        elif predictions.dense is None:
            predictions.dense = DenseReference.of(loaded, text=questions.text, progress=named)
            figure = predictions.dense.perplexity
        else:
            distance, figure = predictions.dense.compare(loaded, named)
            if run is not None:
                known = predictions.dense.distributions
                row = DivergenceRow.of(distance, known.mean_rest, known.top, questions.text)
                divergences(run).put(counted.configuration, row)
        if run is not None:
            perplexities(run).put(counted.configuration, PerplexityRow.of(figure, questions.text))
    return Measured(
        model,
        counted,
        figure,
        answers.info["configuration"],
        answers.info["items_available"],
        warnings_for(loaded, {QUESTIONS: bbq.source, HELD_OUT_TEXT: questions.text}),
        lambda: {item.item_id: item.group for item in asked.items},
        distance,
    )
