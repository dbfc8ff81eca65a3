"""``mlxprune bench``: time models against each other."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli.terminal.console import console, emit_json, note, say, warn
from mlx_prune.cli.terminal.options import (
    dtype_option,
    json_option,
    trust_option,
    whole_numbers,
    wording_option,
)
from mlx_prune.cli.terminal.progress import progress_bars
from mlx_prune.latency.settings import SCHEDULES, BenchSettings

if TYPE_CHECKING:
    from mlx_prune.latency.result import BenchResult

INTERRUPTED = 130


def _parse_lengths(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    lengths = () if value is None else whole_numbers(value)
    if lengths and (min(lengths) < 1 or len(set(lengths)) != len(lengths)):
        raise click.BadParameter("lengths must be distinct and at least 1.")
    return lengths


@click.command(short_help="Time models against the dense one.")
@click.argument("models", metavar="MODEL MODEL...", nargs=-1, required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for latency.json and the plot.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=BenchSettings.rounds,
    show_default=True,
    help="How often every prompt is timed.",
)
@click.option(
    "--items",
    type=click.IntRange(1),
    default=BenchSettings.items,
    show_default=True,
    help="BBQ questions, or synthetic prompts per length.",
)
@click.option(
    "--cooldown",
    "cooldown_s",
    type=click.FloatRange(0),
    default=BenchSettings.cooldown_s,
    show_default=True,
    help="Seconds between rounds.",
)
@click.option("--bbq", metavar="demo|hub|DIR", help="Where the questions come from.  [default: demo]")
@wording_option
@click.option(
    "--prompt",
    "prompt_lengths",
    metavar="N,N,...",
    callback=_parse_lengths,
    help="Synthetic prompts of these lengths in tokens, instead of BBQ questions.",
)
@click.option(
    "--generate",
    "new_tokens",
    type=click.IntRange(1),
    help="Tokens per answer.  [default: 5 for questions, 32 for synthetic prompts]",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    default=100 * BenchSettings.margin,
    show_default=True,
    callback=lambda _, __, value: value / 100,
    help="Largest difference that does not matter, in percent.",
)
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    default="auto",
    show_default=True,
    help="Models in turn at every item, or one in memory at a time.",
)
@dtype_option
@click.option(
    "--no-sizes",
    "sizes",
    is_flag=True,
    callback=lambda _, __, value: not value,
    help="Skip sizes under zstd, as a bitmask and as GGUF.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a CSV table.")
@click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a Markdown table.",
)
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@trust_option
@json_option
def command(
    models: tuple[str, ...],
    out: Path | None,
    csv_file: Path | None,
    markdown_file: Path | None,
    force: bool,
    trust_remote_code: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Time models side by side, the dense one first, and say which differences are real.

    Models take turns at every prompt in a random order; each is compared with the first in pairs. The same
    model twice shows what the machine alone does.

    Results go to the folder given with -o, or to a new folder bench-DATE-TIME. Ctrl-C ends the measuring,
    keeps and prints what was measured so far, and exits with 130.
    """
    if len(models) < 2:
        raise click.UsageError("Give at least two models, the dense one first (or one model twice).")
    if settings["bbq"] is not None and settings["prompt_lengths"]:
        raise click.UsageError("--bbq and --prompt exclude each other.")
    if settings["wording"] is not None and settings["prompt_lengths"]:
        raise click.UsageError("--wording would be ignored: synthetic prompts have no words.")
    if force and out is None:
        raise click.UsageError("--force replaces results in --out; without -o the folder is new anyway.")

    from mlx_prune.bbq.wording import read_wording
    from mlx_prune.latency.run import bench
    from mlx_prune.latency.table import to_csv, to_markdown
    from mlx_prune.report.figures.latency import save_latency_plot
    from mlx_prune.store import write_atomically

    if settings["wording"] is not None:
        settings["wording"] = read_wording(settings["wording"])
    folder = out or Path(f"bench-{datetime.now():%Y%m%d-%H%M%S}")
    with progress_bars() as progress:
        result = bench(
            models,
            BenchSettings(**settings),
            out=folder,
            force=force,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
    files = [folder / "latency.json", *save_latency_plot(result, folder)]
    for file, text in ((csv_file, to_csv), (markdown_file, to_markdown)):
        if file is not None:
            write_atomically(file, text(result).encode())
            files.append(file)
    if as_json:
        payload = result.to_json()
        del payload["samples"]
        emit_json({**payload, "files": [str(file) for file in files]})
    else:
        _print(result, files)
    return INTERRUPTED if result.interrupted else 0


def _print(result: BenchResult, files: list[Path]) -> None:
    from mlx_prune.cli.tables.latency import BITMASK_LEGEND, latency_table, size_table, speed_table
    from mlx_prune.latency.table import how_measured, verdict_sentence

    screen = console()
    screen.print(latency_table(result))
    screen.print(speed_table(result))
    screen.print(size_table(result))
    if any(facts.bitmask_bytes is not None for facts in result.models):
        screen.print(BITMASK_LEGEND, style="dim")
    for row in result.rows:
        if row.comparisons:
            screen.print(verdict_sentence(result, row))
    screen.print(how_measured(result), style="dim")
    for warning in result.warnings:
        warn(warning)
    for facts in result.models:
        if facts.gguf_bytes is None and facts.gguf_note:
            note(f"{facts.label}: no GGUF size, {facts.gguf_note}.")
    # One path per line, unwrapped, so that they can be copied.
    for file in files:
        say(str(file))
