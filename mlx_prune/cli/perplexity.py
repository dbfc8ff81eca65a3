"""``mlxprune perplexity``: perplexity of a model on a text."""

from __future__ import annotations

import click

from mlx_prune.cli._common import (
    dtype_option,
    emit_json,
    json_option,
    magnitude,
    progress_bars,
    trust_option,
)


@click.command("perplexity", short_help="Perplexity on a held-out text.")
@click.argument("model")
@click.option(
    "--text",
    default="demo",
    show_default=True,
    help="demo (held-out text that comes with the package), tulu (allenai/tulu-3-sft-mixture, from the Hub), "
    "or a text or JSONL file.",
)
@click.option(
    "--sequences",
    type=click.IntRange(min=1),
    help="Number of sequences. [default: 256, or as many as the text holds]",
)
@click.option(
    "--sequence-length",
    type=click.IntRange(min=2),
    help="Tokens per sequence. [default: 512, or what the model allows]",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@dtype_option
@trust_option
@json_option
def command(
    model: str,
    text: str,
    sequences: int | None,
    sequence_length: int | None,
    batch_size: int,
    dtype: str,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Measure the perplexity of MODEL on a text, with its standard error."""
    from mlx_prune import checkpoints
    from mlx_prune.measures.perplexity import perplexity

    loaded = checkpoints.load(model, dtype=dtype, trust_remote_code=trust_remote_code)
    with progress_bars() as progress:
        result = perplexity(
            loaded,
            text=text,
            sequences=sequences,
            sequence_length=sequence_length,
            batch_size=batch_size,
            progress=progress,
        )
    if as_json:
        emit_json({"model": model, "text": text, "dtype": loaded.dtype, "perplexity": result})
        return
    click.echo(
        f"Perplexity of {model} on {text}: {magnitude(result.value)} ± {magnitude(result.standard_error)} "
        f"({result.sequences} sequences of {result.sequence_length} tokens, {loaded.dtype})"
    )
