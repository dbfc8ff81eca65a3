"""``mlxprune demo``: the whole story on the embedded model."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_prune import words
from mlx_prune.cli.terminal.browser import show_page
from mlx_prune.cli.terminal.console import console, emit_json, print_headline, say
from mlx_prune.cli.terminal.options import jobs_option, json_option, min_answered_option

if TYPE_CHECKING:
    from rich.console import Console

    from mlx_prune.cli.demo_result import DemoResult
    from mlx_prune.configuration import Configuration
    from mlx_prune.study.config import StudyConfig

FOLDER = Path("mlxprune-demo")
QUICK_SPARSITIES = (30.0, 70.0)


@click.command("demo", short_help="The whole story on the embedded model.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Study folder.",
)
@click.option("--quick", is_flag=True, help="Two sparsities of four; plain `demo` adds the others.")
@click.option("--open", "browse", is_flag=True, help="Open the report in a browser, where there is a screen.")
@jobs_option
@min_answered_option
@json_option
def command(
    out: Path, quick: bool, browse: bool, jobs: int | None, min_answered: float, as_json: bool
) -> None:
    """Prune the embedded model three ways at four sparsities, question it, and say what that did.

    The embedded model is a demonstration of the tool, not evidence about language models.
    """
    from mlx_prune.cli.demo_result import DemoResult, state_of

    started = time.perf_counter()
    config = _config(quick=quick)
    state = state_of(out, config, min_answered)
    result = kept = DemoResult.read(out, state)
    if result is None:
        result = _made(out, config, jobs, min_answered)
        result.write(out, state_of(out, config, min_answered))
    shown = {row.configuration for row in result.rows}
    left_out = [name for name in _config(quick=False).configurations("demo") if name not in shown]
    seconds = time.perf_counter() - started
    page = out / result.page
    if as_json:
        emit_json(
            {
                "study": out,
                "seconds": seconds,
                "configurations": result.rows,
                "finding": result.finding,
                "left_out": left_out,
                "other_versions": result.others,
                "report": page,
            }
        )
    else:
        screen = console()
        print_result(screen, result, min_answered)
        if quick and left_out:
            folder = "" if out == FOLDER else f" -o {out}"
            say(f"{_left_out(left_out)}; `mlxprune demo{folder}` adds them.")
        finished = "before" if kept else f"in {words.duration(seconds)}"
        say(f"Finished {finished}; the records are in {out}.")
        say(f"Page: {page}")
    if browse:
        show_page(page)


def print_result(screen: Console, result: DemoResult, min_answered: float) -> None:
    """The table, the finding, and what it means."""
    from mlx_prune.cli.tables.study import legend, study_table

    screen.print(study_table(result.rows))
    screen.print(legend(result.rows, min_answered), style="dim", markup=False)
    screen.print()
    print_headline(screen, result.finding)
    if result.finding.perplexity:
        screen.print(result.finding.perplexity, style="bold", markup=False)
    screen.print()
    screen.print("What this means", style="bold")
    screen.print(" ".join(result.finding.meaning), markup=False)
    screen.print(
        "The embedded model and its questions are invented and say nothing about real models; for those "
        "there is `mlxprune study`. Time was not measured: `mlxprune bench` does that.",
        style="dim",
        markup=False,
    )
    if result.others:
        screen.print(
            f"Some of these answers were drawn with {result.others}; for this version's, name another folder "
            "with -o.",
            style="yellow",
            markup=False,
        )
    screen.print()


def _left_out(names: list[Configuration]) -> str:
    sparsities = [words.percentage(sparsity, None) for sparsity in sorted({name.sparsity for name in names})]
    return f"--quick left out {words.counted(len(names), 'pruned model')} ({words.names(sparsities)})"


def _config(*, quick: bool) -> StudyConfig:
    from mlx_prune.study.data import with_named_data
    from mlx_prune.study.presets import preset

    config = with_named_data(preset("demo"))
    if not quick:
        return config
    return dataclasses.replace(config, grid=dataclasses.replace(config.grid, sparsities=QUICK_SPARSITIES))


def _made(out: Path, config: StudyConfig, jobs: int | None, min_answered: float) -> DemoResult:
    """Run what is left, and write the report."""
    from mlx_prune.cli.demo_result import DemoResult, other_versions, refuse_another_demo
    from mlx_prune.cli.study import run_with_view
    from mlx_prune.cli.tables.study import study_rows

    refuse_another_demo(out, config)
    run_with_view(config, out, jobs=jobs, meanwhile=_load_report)
    from mlx_prune.report.data import read_study
    from mlx_prune.report.write import write_report_of

    study = read_study(out, min_answered=min_answered)
    paths = write_report_of(study, out)
    return DemoResult(study_rows(study), paths.finding, paths.page.name, other_versions(out))


def _load_report() -> None:
    """Import what the report is made with."""
    import mlx_prune.report.write  # noqa: F401
    from mlx_prune.report.figures.drawn import load_matplotlib

    load_matplotlib()
