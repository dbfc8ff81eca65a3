"""``mlxprune prune``: write a pruned copy of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_prune.cli._common import (
    console,
    dtype_option,
    emit_json,
    json_option,
    parse_percent,
    progress_bars,
    size,
    trust_option,
    warn,
)

if TYPE_CHECKING:
    from mlx_prune.pruning.recipe import Recipe
    from mlx_prune.pruning.report import PruneReport


@click.command("prune", short_help="Write a pruned copy of a model.")
@click.argument("model")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="Folder to write."
)
@click.option(
    "-m", "--method", type=click.Choice(["random", "magnitude", "wanda"]), required=True, help="What to drop."
)
@click.option(
    "-s", "--sparsity", callback=parse_percent, metavar="PERCENT", help="Share of weights set to zero, 1-99."
)
@click.option("--pattern", metavar="N:M", help="Keep N of every M consecutive weights, such as 2:4.")
@click.option(
    "--scope",
    type=click.Choice(["blocks", "paper"]),
    default="blocks",
    show_default=True,
    help="All linears in the blocks, or (Wanda) without o_proj and down_proj as in the study.",
)
@click.option(
    "--statistics",
    type=click.Choice(["sequential", "dense"]),
    help="Wanda: measure each block behind the pruned ones, or on the dense model. [default: sequential]",
)
@click.option(
    "--calibration", metavar="SOURCE", help="Wanda: demo, c4, or a text or JSONL file. [default: demo]"
)
@click.option(
    "--samples", type=click.IntRange(min=1), help="Wanda: sequences. [default: 128, or all there are]"
)
@click.option(
    "--sequence-length",
    type=click.IntRange(min=2),
    help="Wanda: tokens per sequence. [default: 2048, or what the model and the text allow]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Of random masks or of the choice of text. [default: 0]"
)
@dtype_option
@click.option("--force", is_flag=True, help="Replace what the folder holds.")
@trust_option
@json_option
def command(
    model: str,
    out: Path,
    method: str,
    sparsity: float | None,
    pattern: str | None,
    scope: str,
    statistics: str | None,
    calibration: str | None,
    samples: int | None,
    sequence_length: int | None,
    seed: int | None,
    dtype: str,
    force: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Prune MODEL into a folder that stock mlx-lm loads.

    One block of the model is in memory at a time. A run that was stopped carries on at the block it was in.
    """
    from mlx_prune import distributed
    from mlx_prune.pruning.stream import prune_checkpoint

    recipe = _recipe(
        method, sparsity, pattern, scope, statistics, calibration, samples, sequence_length, seed
    )
    with progress_bars() as progress:
        report = prune_checkpoint(
            model,
            out,
            recipe,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            force=force,
            progress=progress,
        )
    if distributed.rank() != 0:
        return
    if as_json:
        emit_json({"output": out, **report.to_json()})
    else:
        _print(report, out)
    for warning in report.warnings:
        warn(warning)


def _recipe(
    method: str,
    sparsity: float | None,
    pattern: str | None,
    scope: str,
    statistics: str | None,
    calibration: str | None,
    samples: int | None,
    sequence_length: int | None,
    seed: int | None,
) -> Recipe:
    from mlx_prune.pruning.recipe import Calibration, Recipe, fraction_from_percent

    if sparsity is None and pattern is None:
        raise click.UsageError("Give a sparsity (-s 50) or a pattern (--pattern 2:4).")
    text = None
    if calibration is not None or samples is not None or sequence_length is not None:
        text = Calibration(calibration or "demo", samples, sequence_length)
    return Recipe(
        method=method,
        sparsity=None if sparsity is None else fraction_from_percent(sparsity),
        pattern=pattern,
        scope=scope,
        statistics=statistics,
        seed=seed,
        calibration=text,
    )


def _print(report: PruneReport, out: Path) -> None:
    from rich.table import Table

    recipe = report.recipe
    table = Table.grid(padding=(0, 2))
    target = f"{100 * report.target_sparsity:g} %" + (f" ({recipe.pattern})" if recipe.pattern else "")
    table.add_row("method", recipe.method + ("" if recipe.scope == "blocks" else f", scope {recipe.scope}"))
    table.add_row("target sparsity", target)
    table.add_row("actual sparsity", f"{100 * report.actual_sparsity:.2f} %")
    table.add_row("zeros", f"{report.zero_params:,} of {report.total_prunable_params:,} prunable weights")
    if report.calibration is not None:
        text = report.calibration
        table.add_row(
            "calibration",
            f"{text['source']}, {text['samples']} x {text['sequence_length']} tokens, {recipe.statistics}",
        )
    table.add_row("time", f"{report.prune_time_s:.1f} s ({report.calibration_time_s:.1f} s calibration)")
    table.add_row("peak memory", size(report.peak_memory_bytes))
    table.add_row("written to", str(out))
    console().print(table)
