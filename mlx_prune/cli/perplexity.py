"""``mlxprune perplexity``: perplexity of a model on a text."""

from __future__ import annotations

import click

from mlx_prune import words
from mlx_prune.cli.terminal.console import emit_json, say, warn
from mlx_prune.cli.terminal.options import (
    dtype_option,
    json_option,
    sequences_options,
    text_option,
    trust_option,
)
from mlx_prune.cli.terminal.progress import progress_bars


@click.command("perplexity", short_help="Perplexity on a held-out text.")
@click.argument("model")
@text_option
@sequences_options
@click.option(
    "--batch-size",
    type=click.IntRange(1, 65_536),
    default=8,
    show_default=True,
    help="Sequences that are computed together.",
)
@dtype_option
@trust_option
@json_option
def command(
    model: str,
    text: str | None,
    sequences: int | None,
    sequence_length: int | None,
    batch_size: int,
    dtype: str,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Measure the perplexity of MODEL on a text, with its standard error."""
    from mlx_prune.checkpoint import open as checkpoints
    from mlx_prune.checkpoint.invented import HELD_OUT_TEXT, named, warnings_for
    from mlx_prune.runs.perplexity import perplexity

    source = named(HELD_OUT_TEXT, text, model, "--text")
    loaded = checkpoints.load(model, dtype=dtype, trust_remote_code=trust_remote_code)
    with progress_bars() as progress:
        result = perplexity(
            loaded,
            text=source,
            sequences=sequences,
            sequence_length=sequence_length,
            batch_size=batch_size,
            progress=progress,
        )
    warnings = warnings_for(loaded, {HELD_OUT_TEXT: source})
    if as_json:
        emit_json(
            {
                "model": model,
                "text": source,
                "dtype": loaded.dtype,
                "perplexity": result,
                "warnings": warnings,
            }
        )
        return
    value, error = words.magnitude(result.value), words.magnitude(result.standard_error)
    say(
        f"Perplexity of {model} on {source}: {value} ± {error} "
        f"({result.sequences} sequences of {result.sequence_length} tokens, {loaded.dtype})"
    )
    for warning in warnings:
        warn(warning)
