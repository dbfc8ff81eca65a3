"""``mlxprune report``: tables, figures and a page from a study's records."""

from __future__ import annotations

from pathlib import Path

import click

from mlx_prune.cli.terminal.console import console, emit_json, print_headline, say
from mlx_prune.cli.terminal.options import json_option, min_answered_option
from mlx_prune.cli.terminal.progress import progress_bars


@click.command("report", short_help="Tables, figures and a page from a study.")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--png", is_flag=True, help="Figures as PNG, too, beside SVG.")
@min_answered_option
@json_option
def command(study: Path, png: bool, min_answered: float, as_json: bool) -> None:
    """Write tables, figures and report.html into the folder of a STUDY.

    Needs the records only, not the models, and runs where MLX is not installed.
    """
    from mlx_prune.cli.tables.frontier import FRONTIER_LEGEND, frontier_table
    from mlx_prune.errors import RecordsError
    from mlx_prune.report.write import write_report
    from mlx_prune.runs.folder import RunFolder

    if RunFolder(study).exists:
        raise RecordsError(
            f"{study} is the run of one model, not a study; `mlxprune compare DENSE_RUN RUN... -o DIR` makes "
            "a report of several."
        )
    with progress_bars() as progress:
        paths = write_report(study, min_answered=min_answered, png=png, progress=progress)
    if as_json:
        emit_json({**vars(paths), "frontier": paths.frontier.records()})
        return
    screen = console()
    print_headline(screen, paths.finding)
    screen.print(paths.finding.paragraph)
    if len(paths.frontier):
        screen.print()
        screen.print(frontier_table(paths.frontier.rows))
        screen.print(FRONTIER_LEGEND, style="dim")
    screen.print(
        f"{len(paths.tables)} files in {study / 'tables'}, {len(paths.figures)} in {study / 'figures'}",
        style="dim",
    )
    # Unwrapped, so that it can be clicked and copied.
    say(f"Report: {paths.page}")
