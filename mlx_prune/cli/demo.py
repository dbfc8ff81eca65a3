"""``mlxprune demo``: the whole story on the embedded model."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click

from mlx_prune import words
from mlx_prune.cli.terminal.console import console, emit_json, print_headline, say
from mlx_prune.cli.terminal.options import json_option, min_answered_option


@click.command("demo", short_help="The whole story on the embedded model.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    default=Path("mlxprune-demo"),
    show_default=True,
    help="Study folder.",
)
@click.option("--quick", is_flag=True, help="Two sparsities and three fifths of the questions.")
@min_answered_option
@json_option
def command(out: Path, quick: bool, min_answered: float, as_json: bool) -> None:
    """Prune the embedded model three ways at four sparsities, question and time it, and compare.

    The embedded model is a demonstration of the tool, not evidence about language models.
    """
    from mlx_prune.cli.study import run_with_view
    from mlx_prune.cli.tables.study import legend, study_rows, study_table
    from mlx_prune.report.write import write_report
    from mlx_prune.study.presets import preset

    config = preset("demo")
    if quick:
        config = dataclasses.replace(
            config,
            grid=dataclasses.replace(config.grid, sparsities=(30.0, 70.0)),
            bbq=dataclasses.replace(config.bbq, limit=120),
        )
    started = time.perf_counter()
    run_with_view(config, out)
    rows = study_rows(out, min_answered)
    paths = write_report(out, min_answered=min_answered)
    seconds = time.perf_counter() - started
    if as_json:
        emit_json({"study": out, "seconds": seconds, "configurations": rows, "report": paths.page})
        return
    screen = console()
    screen.print(study_table(rows))
    screen.print(legend(rows, min_answered), style="dim")
    print_headline(screen, paths.finding)
    say(f"Finished in {words.duration(seconds)}; records are in {out}, the report in {paths.page}")
