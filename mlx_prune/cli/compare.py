"""``mlxprune compare``: checkpoints or runs that are there already, beside their dense model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli.terminal.asking import ASKING, asking_options, read_asking
from mlx_prune.cli.terminal.browser import show_page
from mlx_prune.cli.terminal.console import console, emit_json, print_headline, say, warn
from mlx_prune.cli.terminal.options import (
    json_option,
    min_answered_option,
    refuse_ignored,
    text_option,
    trust_option,
)

if TYPE_CHECKING:
    from mlx_prune.study.config import StudyConfig

# What none of the options for asking models does to runs that were made.
_FOR_MODELS = (*ASKING, "text", "no_perplexity", "latency", "trust_remote_code")


@click.command("compare", short_help="Checkpoints or runs that you have, in one report.")
@click.argument("subjects", nargs=-1, required=True, metavar="DENSE CANDIDATE...")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="Study folder.")
@asking_options
@text_option
@click.option("--no-perplexity", is_flag=True, help="Do without a text.")
@click.option("--latency", is_flag=True, help="Time every candidate against the dense model, too.")
@min_answered_option
@click.option("--open", "browse", is_flag=True, help="Open the report in a browser, where there is a screen.")
@trust_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    subjects: tuple[str, ...],
    out: Path,
    min_answered: float,
    browse: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare CANDIDATES with the DENSE model they come from, whatever made them.

    Each is a folder or a Hub id, or a run folder of `eval`; runs are not asked again. NAME=PATH gives a name
    of its own. The folder is a study's: the same command carries on where it was stopped, and with more
    candidates asks those.
    """
    from mlx_prune.cli.tables.study import legend, study_rows, study_table
    from mlx_prune.report.data import read_study
    from mlx_prune.report.write import write_report_of
    from mlx_prune.runs.folder import RunFolder
    from mlx_prune.study.about import read_about

    if len(subjects) < 2:
        raise click.UsageError("Give the dense model and at least one candidate.", context)
    named = [_name_and_path(subject) for subject in subjects]
    runs = [RunFolder(path).exists for _, path in named]
    if all(runs):
        from mlx_prune.study.compared_runs import study_of_runs

        refuse_ignored(context, _FOR_MODELS, "runs are not asked again")
        study_of_runs([(name, Path(path)) for name, path in named], out)
        warnings: tuple[str, ...] = ()
    elif any(runs):
        raise click.UsageError("Give models only, or run folders only.", context)
    else:
        from mlx_prune.cli.study import run_with_view
        from mlx_prune.study.data import data_warnings

        if options["no_perplexity"]:
            refuse_ignored(context, ("text",), "--no-perplexity measures on none")
        config = _study(named, options)
        run_with_view(config, out, trust_remote_code=options["trust_remote_code"])
        warnings = data_warnings(config)
    warnings = (*warnings, *read_about(out).differences)
    found = read_study(out, min_answered=min_answered)
    paths, rows = write_report_of(found, out), study_rows(found)
    if as_json:
        emit_json(
            {
                "study": out,
                "configurations": rows,
                "finding": paths.finding,
                "report": paths.page,
                "warnings": warnings,
            }
        )
    else:
        screen = console()
        screen.print(study_table(rows))
        screen.print(legend(rows, min_answered), style="dim", markup=False)
        screen.print()
        print_headline(screen, paths.finding)
        screen.print(paths.finding.paragraph, markup=False)
        say(f"Report: {paths.page}")
    for warning in warnings:
        warn(warning)
    if browse:
        show_page(paths.page)


def _name_and_path(subject: str) -> tuple[str | None, str]:
    """``NAME=PATH`` taken apart; a path that exists is one, whatever it holds."""
    name, given, path = subject.partition("=")
    if not given or "/" in name or Path(subject).exists():
        return None, subject
    return name, path


def _study(named: Sequence[tuple[str | None, str]], options: dict[str, Any]) -> StudyConfig:
    """A study of the models, its data named."""
    from mlx_prune.checkpoint.invented import HELD_OUT_TEXT, QUESTIONS, named_for_all
    from mlx_prune.labels import free_name
    from mlx_prune.paths import short_name
    from mlx_prune.study.candidates import require_there
    from mlx_prune.study.config import Grid, StudyConfig
    from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
    from mlx_prune.study.rows import StudyCheckpoint, StudyModel

    (name, dense), *candidates = named
    rows = [
        StudyCheckpoint(name or free_name(short_name(path, Path(path))), path) for name, path in candidates
    ]
    _require_distinct([row.name for row in rows])
    bbq, generation = read_asking(options, options["bbq"])
    config = StudyConfig(
        models=(StudyModel(dense, name),),
        name=f"comparison of {name or short_name(dense, Path(dense))}",
        grid=Grid(methods=(), sparsities=()),
        checkpoints=tuple(rows),
        bbq=bbq,
        generation=generation,
        perplexity=PerplexityMeasure(enabled=not options["no_perplexity"], text=options["text"]),
        latency=LatencyMeasure(enabled=options["latency"]),
    )
    require_there(config.paths)
    # Said in the words of the command rather than of a study's file.
    questions = named_for_all(QUESTIONS, options["bbq"], config.paths, "--bbq")
    text = options["text"]
    if config.perplexity.enabled:
        text = named_for_all(HELD_OUT_TEXT, text, config.paths, "--text")
    return config.with_sources(bbq=questions, text=text)


def _require_distinct(names: Sequence[str]) -> None:
    from mlx_prune.errors import DataError

    folded = [name.casefold() for name in names]
    twice = next((name for name in names if folded.count(name.casefold()) > 1), None)
    if twice is not None:
        raise DataError(f"two candidates are called {twice!r}; give them names: NAME=PATH.")
