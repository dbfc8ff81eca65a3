"""``mlxprune gate``: may this candidate be released?"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli.terminal.console import console, emit_json, note, warn
from mlx_prune.cli.terminal.options import (
    bbq_option,
    dtype_option,
    given,
    json_option,
    refuse_ignored,
    seeds_option,
    text_option,
    thinking_option,
    trust_option,
    wording_option,
)
from mlx_prune.cli.terminal.progress import progress_bars
from mlx_prune.gate.limits import MEASURES, ON_TEXT, Limits, Measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlx_prune.gate.judge import GateResult, Measured
    from mlx_prune.progress import ProgressCallback

# Options that only matter where a model has to be questioned.
_FOR_MODELS = (
    "output",
    "bbq",
    "wording",
    "categories",
    "limit",
    "seeds",
    "text",
    "dtype",
    "thinking",
    "trust_remote_code",
)
_COLORS = {"pass": "green", "fail": "bold red", "undecided": "yellow", "error": "bold red"}


def _limit_reader(measure: Measure) -> Callable[[click.Context, click.Parameter, str], float | None]:
    """A callback that reads a limit in its measure's unit, as a share of 1; None stands for "off"."""

    def read(_: click.Context, __: click.Parameter, value: str) -> float | None:
        if value == "off":
            return None
        try:
            number = float(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is neither a number nor 'off'.") from None
        if not 0 <= number <= measure.most:
            raise click.BadParameter(f"{value} is not between 0 and {measure.most:g}.")
        return number / 100 if measure.percent else number

    return read


def _limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, measure in reversed(MEASURES.items()):
        default = getattr(Limits, name)
        option = click.option(
            measure.option,
            name,
            callback=_limit_reader(measure),
            default="off" if default is None else measure.written(default).removesuffix(" %"),
            show_default=True,
            metavar="LIMIT",
            help=measure.help,
        )
        function = option(function)
    return function


@click.command("gate", short_help="A release check: limits on bias and perplexity.")
@click.argument("subjects", nargs=-1, required=True, metavar="STUDY | DENSE CANDIDATE...")
@click.option("--candidate", "wanted", multiple=True, help="Of a study, hold this one only: wanda-s70.")
@_limit_options
@click.option("--allow-undecided", is_flag=True, help="Pass where there are not enough items to tell.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Keep the runs of questioned models here."
)
@bbq_option
@wording_option
@click.option("--category", "categories", multiple=True, help="Ask this category only; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask this many items in all.")
@seeds_option
@text_option
@thinking_option
@dtype_option
@trust_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    subjects: tuple[str, ...],
    wanted: tuple[str, ...],
    allow_undecided: bool,
    junit: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Hold pruned models to limits on how much worse than dense they may be.

    Give a STUDY folder, or the DENSE model and CANDIDATES, each a run folder or a model to question now. A
    limit is kept if the whole 95 % interval of the worsening is within it, and broken if the whole interval
    is beyond; otherwise there are not enough items to tell, and the same command with a larger --limit
    carries on. Rates of a model whose answers are mostly not understood, in all or in a category, are not
    judged; it fails.

    Exit codes: 0 every candidate passes, 3 one breaks a limit, else 1 one could not be judged (or the command
    was refused), else 4 one is undecided (0 with --allow-undecided); 2 wrong usage.
    """
    from mlx_prune.gate.text import exit_code, result_values, summary
    from mlx_prune.gate.text import junit as junit_xml
    from mlx_prune.store import write_atomically

    limits = Limits(**{name: options[name] for name in MEASURES})
    # A limit that was asked for by name has to be held; a default one is left out where nothing was measured.
    needed = [name for name in (*ON_TEXT, "expected_srs_rise") if given(context, name)]
    with progress_bars() as progress:
        results = [
            _judged(pair, limits, needed) for pair in _pairs(context, subjects, wanted, options, progress)
        ]
    if junit is not None:
        write_atomically(junit, junit_xml(results, undecided_passes=allow_undecided))
    if as_json:
        emit_json(result_values(results, undecided_passes=allow_undecided))
    else:
        for result in results:
            _print(result)
        for result in results:
            console().print(summary(result), style=_COLORS[result.outcome])
    for result in results:
        if result.error:
            note(f"Error: {result.candidate}: {result.error}")
    for warning in dict.fromkeys(warning for result in results for warning in result.warnings):
        warn(warning)
    context.exit(exit_code(results, undecided_passes=allow_undecided))


@dataclass(frozen=True)
class _Pair:
    """A dense model and a candidate: their names, and what reads or measures each."""

    names: tuple[str, str]
    dense: Callable[[], Measured]
    candidate: Callable[[], Measured]


def _pairs(
    context: click.Context,
    subjects: tuple[str, ...],
    wanted: tuple[str, ...],
    options: dict[str, Any],
    progress: ProgressCallback,
) -> Iterator[_Pair]:
    from mlx_prune.errors import MlxPruneError
    from mlx_prune.gate.sources import measured_run, study_runs
    from mlx_prune.runs.folder import RunFolder
    from mlx_prune.study.folder import StudyFolder

    paths = [Path(subject) for subject in subjects]
    if len(paths) == 1:
        if not StudyFolder(paths[0]).exists:
            raise MlxPruneError(
                f"{paths[0]} is no study folder; give one, or the dense model and a candidate."
            )
        refuse_ignored(context, _FOR_MODELS, "a study is not questioned again")
        read = functools.cache(measured_run)
        for pair in study_runs(paths[0], wanted):
            before, after = (f"{run.parent.name}/{run.name}" for run in pair)
            yield _Pair((before, after), *(functools.partial(read, run) for run in pair))
        return
    refuse_ignored(context, ("wanted",), "it chooses among the runs of one study")
    runs = [RunFolder(path).exists for path in paths]
    if all(runs):
        refuse_ignored(context, _FOR_MODELS, "no model has to be questioned")
    elif any(runs):
        refuse_ignored(context, ("text",), "a run without perplexity is among them")
    dense, *candidates = _measures(subjects, options, progress)
    # Without the dense model nothing can be judged; what is wrong with it is the command's own error.
    measured = dense()
    for subject, candidate in zip(subjects[1:], candidates, strict=True):
        yield _Pair((subjects[0], subject), lambda: measured, candidate)


def _judged(pair: _Pair, limits: Limits, needed: list[str]) -> GateResult:
    """One candidate; what goes wrong with it is its own outcome, and the others are judged all the same."""
    from mlx_prune.errors import MlxPruneError, RecordsError
    from mlx_prune.gate.judge import GateResult, gate

    try:
        result = gate(pair.dense(), pair.candidate(), limits)
        for name in result.unmeasured:
            if name in needed:
                raise RecordsError(
                    f"{MEASURES[name].title.removesuffix(' rise')} was not measured for these runs; give "
                    "models, or a study with it."
                )
        return result
    except MlxPruneError as error:
        return GateResult(*pair.names, (), error=str(error))


def _measures(
    subjects: tuple[str, ...], options: dict[str, Any], progress: ProgressCallback
) -> Iterator[Callable[[], Measured]]:
    """What measures or reads each of the subjects, when it is called."""
    from mlx_prune.checkpoint.invented import DEMO, HELD_OUT_TEXT, QUESTIONS, named_for_all
    from mlx_prune.gate.sources import Predictions, Questions, measured_run, questioned
    from mlx_prune.runs.folder import RunFolder
    from mlx_prune.runs.settings import Bbq, Generation

    # Perplexity of a model is of use only beside that of the dense one, and a run may have none.
    models = [subject for subject in subjects if not RunFolder(subject).exists]
    bbq, text = named_for_all(QUESTIONS, options["bbq"], models, "--bbq"), None
    predictions = Predictions() if any(options[name] is not None for name in ("kl", "other_top")) else None
    on_text = predictions is not None or options["perplexity_rise"] is not None
    if len(models) == len(subjects) and on_text:
        text = named_for_all(HELD_OUT_TEXT, options["text"], models, "--text")
    questions = Questions(
        bbq=Bbq(
            bbq or DEMO, options["categories"] or None, limit=options["limit"], wording=options["wording"]
        ),
        generation=Generation(options["seeds"], dtype=options["dtype"], thinking=options["thinking"]),
        text=text,
        trust_remote_code=options["trust_remote_code"],
    )
    for place, subject in enumerate(subjects):
        if RunFolder(subject).exists:
            yield functools.partial(measured_run, Path(subject))
        else:
            name, output = f"candidate-{place}" if place else "dense", options["output"]
            run = None if output is None else output / name
            yield functools.partial(questioned, subject, run, questions, progress, predictions)


def _print(result: GateResult) -> None:
    from rich.text import Text

    from mlx_prune.cli.terminal.table import FittedTable
    from mlx_prune.gate.text import advice, amount, interval, limit, remarks, sentence

    if result.error:
        return
    screen = console()
    table = FittedTable(f"{result.candidate} against {result.dense}", keys=2)
    # Rather than that outcomes stand apart from what was measured, names of measures take two lines.
    table.add_column("", wrap=True)
    table.add_column("")
    for name in ("limit", "measured", "95 % interval"):
        table.add_column(name, justify="right")
    table.add_column("outcome")
    for check in result.checks:
        table.add_row(
            MEASURES[check.estimate.measure].title,
            check.estimate.scope.replace("_", " "),
            limit(check),
            amount(check, check.estimate.value),
            interval(check),
            Text(check.outcome, style=_COLORS[check.outcome]),
        )
    screen.print(table)
    sentences = [sentence(check) for check in result.checks if check.outcome != "pass"]
    for text in (*sentences, *filter(None, [advice(result)]), *remarks(result)):
        screen.print(text)
    screen.print()
