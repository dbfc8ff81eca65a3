"""``mlxprune divergence``: how far models' predictions lie from the dense model's."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_prune.cli.terminal.console import console, emit_json, say, warn
from mlx_prune.cli.terminal.options import (
    dtype_option,
    json_option,
    sequences_options,
    text_option,
    trust_option,
)
from mlx_prune.cli.terminal.progress import progress_bars

if TYPE_CHECKING:
    from mlx_prune.progress import Progress, ProgressCallback


@click.command("divergence", short_help="Distance of next-token predictions from the dense model's.")
@click.argument("dense")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@text_option
@sequences_options
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Likeliest tokens of which the dense probabilities are kept; the others are one bucket. "
    "[default: 128]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the figures in this JSON file; models that it holds are not measured again.",
)
@click.option("--force", is_flag=True, help="Replace what the file of --output holds.")
@dtype_option
@trust_option
@json_option
def command(
    dense: str,
    models: tuple[str, ...],
    text: str | None,
    sequences: int | None,
    sequence_length: int | None,
    top: int | None,
    output: Path | None,
    force: bool,
    dtype: str,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Measure how far the predictions of MODELS lie from those of the DENSE model, token by token.

    KL divergence of the next token's distributions, KL(dense || model) in nats; the share of tokens of which
    both hold the same one for the likeliest; the change of the right token's probability; and the ratio of
    perplexities, paired. Intervals are 95 % and rest on the sequences of the text.

    The dense model runs once: what it predicts is kept in the cache and serves every later comparison on the
    same text.
    """
    if force and output is None:
        raise click.UsageError("--force replaces the file of --output; without -o nothing is there.")
    import msgspec

    from mlx_prune.checkpoint import open as checkpoints
    from mlx_prune.checkpoint.invented import HELD_OUT_TEXT, named, warnings_for
    from mlx_prune.cli.tables.divergence import print_divergences
    from mlx_prune.runs.divergence import DenseReference, require_same_tokens
    from mlx_prune.runs.divergence_file import DivergenceFile
    from mlx_prune.runs.settings import DEFAULT_TOP

    source = str(named(HELD_OUT_TEXT, text, dense, "--text"))
    opened = [checkpoints.Checkpoint.open(name, trust_remote_code=trust_remote_code) for name in models]
    loaded = checkpoints.load(dense, dtype=dtype, trust_remote_code=trust_remote_code)
    warnings = warnings_for(loaded, {HELD_OUT_TEXT: source})
    require_same_tokens(loaded, opened)
    with progress_bars() as progress:
        reference = DenseReference.of(
            loaded,
            text=source,
            sequences=sequences,
            sequence_length=sequence_length,
            top=top or DEFAULT_TOP,
            progress=_about(progress, dense),
        )
        file = DivergenceFile(output, reference, loaded, source, force=force)
        del loaded
        for name, checkpoint in zip(models, opened, strict=True):
            file.measure(name, functools.partial(checkpoint.load, dtype), _about(progress, name))
    content = file.content(models)
    if as_json:
        emit_json({**msgspec.to_builtins(content), "warnings": warnings})
        return
    print_divergences(console(), content)
    if output is not None:
        say(str(output))
    for warning in warnings:
        warn(warning)


def _about(progress: ProgressCallback, model: str) -> ProgressCallback:
    def named(step: Progress) -> None:
        progress(dataclasses.replace(step, stage=f"{Path(model).name}: {step.stage}"))

    return named
