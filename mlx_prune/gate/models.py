"""Question a model now, for a gate that was given a model instead of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from mlx_prune.gate.judge import Measured
from mlx_prune.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class Questions:
    """What models are asked.

    Attributes:
        bbq: "demo", "hub" or a folder.
        categories: None asks the study's five.
        limit: Items in all.
        seeds: Of the answers.
        text: For perplexity; None leaves it out.
        dtype: What is computed in.
        thinking: "off" or "skip", as in ``evaluate``.
    """

    bbq: str
    categories: tuple[str, ...] | None
    limit: int | None
    seeds: tuple[int, ...]
    text: str | None
    dtype: str
    thinking: str


def measure_model(
    model: str, run: Path | None, questions: Questions, *, trust_remote_code: bool, progress: ProgressCallback
) -> Measured:
    """Load a model, ask it, and measure its perplexity; with a run folder, answers there are not asked again.

    Raises:
        MlxPruneError: The model, the items or the text cannot be read.
    """
    from mlx_prune.checkpoint import open as checkpoints
    from mlx_prune.checkpoint.invented import HELD_OUT_TEXT, QUESTIONS, warnings_for
    from mlx_prune.gate.sources import perplexity_figure
    from mlx_prune.generation.interface import GenerationSettings
    from mlx_prune.runs.evaluate import evaluate
    from mlx_prune.runs.perplexity import perplexity
    from mlx_prune.stats.counting import count_run
    from mlx_prune.study.results import PERPLEXITY_FILE, ResultsFile

    def named(step: Progress) -> None:
        progress(dataclasses.replace(step, stage=f"{Path(model).name}: {step.stage}"))

    loaded = checkpoints.load(model, dtype=questions.dtype, trust_remote_code=trust_remote_code)
    answers = evaluate(
        loaded,
        run,
        items=questions.bbq,
        categories=questions.categories,
        limit=questions.limit,
        settings=GenerationSettings(seeds=questions.seeds),
        thinking=questions.thinking,
        progress=named,
    )
    counted = count_run(answers.table)
    figure = None
    if questions.text is not None:
        found = perplexity(loaded, text=questions.text, progress=named)
        row = dataclasses.asdict(found)
        figure = perplexity_figure({**row, "perplexity": found.value})
        if run is not None:
            kept = {key: value for key, value in row.items() if key != "value"}
            ResultsFile(run / PERPLEXITY_FILE).put(
                counted.configuration,
                text=questions.text,
                perplexity=found.value,
                **kept,
            )
    return Measured(
        model,
        counted,
        figure,
        answers.info["configuration"],
        answers.info["items_available"],
        warnings_for(loaded, {QUESTIONS: questions.bbq, HELD_OUT_TEXT: questions.text}),
    )
