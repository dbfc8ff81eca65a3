"""``mlxprune prune``: write a smaller copy of a model, or one with zeros."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli._common import (
    dtype_option,
    emit_json,
    json_option,
    parse_percent,
    progress_bars,
    trust_option,
    warn,
)
from mlx_prune.cli._prune_request import METHODS, read_request

if TYPE_CHECKING:
    from mlx_prune.cli._prune_request import Request
    from mlx_prune.cli._prune_table import Rows


@click.command("prune", short_help="Write a pruned or quantized copy of a model.")
@click.argument("model")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="Folder to write."
)
@click.option("-m", "--method", type=click.Choice(METHODS), required=True, help="What to drop.")
@click.option(
    "-s",
    "--sparsity",
    callback=parse_percent,
    metavar="PERCENT",
    help="Share of weights set to zero, or of neurons or blocks removed, 1-99.",
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
    "--allocation",
    type=click.Choice(["uniform", "owl"]),
    default="uniform",
    show_default=True,
    help="Wanda, SparseGPT: one sparsity for all blocks, or more where there are fewer outliers.",
)
@click.option(
    "--units",
    type=click.Choice(["mlp", "heads", "both"]),
    default="mlp",
    show_default=True,
    help="Width: MLP neurons, key-value groups with their query heads, or both.",
)
@click.option(
    "--scores",
    type=click.Choice(["wanda", "magnitude"]),
    default="wanda",
    show_default=True,
    help="Width: what makes a neuron or head worth keeping.",
)
@click.option(
    "--multiple",
    type=click.IntRange(min=1),
    help="Width: keep a multiple of so many neurons. [default: by size]",
)
@click.option("--contiguous", is_flag=True, help="Depth: remove one run of neighboring blocks.")
@click.option("--repair", is_flag=True, help="Width, depth: make up for what is gone by least squares.")
@click.option(
    "--statistics",
    type=click.Choice(["sequential", "dense"]),
    help="Measure each block behind the pruned ones, or on the dense model. [default: sequential]",
)
@click.option(
    "--calibration",
    metavar="SOURCE",
    help="Where activations are measured: c4, a text or JSONL file, or demo, an invented text and the "
    "default of the embedded model only.",
)
@click.option(
    "--samples", type=click.IntRange(min=1), help="Calibration sequences. [default: 128, or all there are]"
)
@click.option(
    "--sequence-length",
    type=click.IntRange(min=2),
    help="Tokens per sequence. [default: 2048, or what the model and the text allow]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Of random masks or of the choice of text. [default: 0]"
)
@click.option(
    "--bits",
    type=click.Choice(["2", "3", "4", "6", "8"]),
    help="Quantize, after pruning if any. [default: 4, or what the mode fixes]",
)
@click.option(
    "--mode",
    type=click.Choice(["affine", "mxfp4", "nvfp4", "mxfp8"]),
    default="affine",
    show_default=True,
    help="Format of the quantized weights.",
)
@click.option(
    "--group-size",
    type=click.Choice(["32", "64", "128"]),
    help="Weights that share a scale. [default: 64, or what the mode fixes]",
)
@dtype_option
@click.option("--force", is_flag=True, help="Replace what the folder holds.")
@trust_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    model: str,
    out: Path,
    method: str,
    force: bool,
    trust_remote_code: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Prune MODEL into a folder that stock mlx-lm loads.

    random, magnitude, wanda and sparsegpt set single weights to zero; width removes neurons or heads, depth
    whole blocks. --bits or --mode quantizes the result, and -m quantize the model as it is.

    Pruning holds one block of the model in memory at a time, and carries on where it was stopped.
    """
    for name in ("bits", "group_size"):
        options[name] = None if options[name] is None else int(options[name])
    request = read_request(context, method, options)
    found = _run(model, out, request, options["dtype"], trust_remote_code, force)
    if found is None:
        return
    values, rows = found
    if as_json:
        emit_json({"output": out, **values})
    else:
        from mlx_prune.cli._prune_table import print_rows

        print_rows([*rows, ("written to", str(out))])
    for warning in values["warnings"]:
        warn(warning)


def _run(
    model: str, out: Path, request: Request, dtype: str, trust_remote_code: bool, force: bool
) -> tuple[dict[str, Any], Rows] | None:
    """Do it; the record and what a person should read of it, from the process that keeps the folder."""
    from mlx_prune import distributed
    from mlx_prune.checkpoint.open import Checkpoint
    from mlx_prune.cli._prune_table import cost_rows, mask_costs, mask_rows, structured_rows
    from mlx_prune.kernels.choice import KernelWarning
    from mlx_prune.pruning.job import prune_and_quantize, write_pruned
    from mlx_prune.pruning.methods.quantize import quantize_checkpoint
    from mlx_prune.pruning.report import PruneReport

    recipe, quantization = request.recipe, request.quantization
    with progress_bars() as progress, warnings.catch_warnings():
        # The report has the sentence too, and is told in full below.
        warnings.simplefilter("ignore", KernelWarning)
        source = Checkpoint(model, trust_remote_code)
        if recipe is None:
            assert quantization is not None
            quantized = quantize_checkpoint(source, out, quantization, force=force, progress=progress)
        elif quantization is not None:
            quantized = prune_and_quantize(
                source, out, recipe, quantization, dtype=dtype, force=force, progress=progress
            )
        else:
            report = write_pruned(source, out, recipe, dtype=dtype, force=force, progress=progress)
            if distributed.rank() != 0:
                return None
            if isinstance(report, PruneReport):
                costs = mask_costs(source, out)
                return report.to_json() | costs, mask_rows(report) + cost_rows(costs)
            return report.to_json(), structured_rows(report)
    return quantized.to_json(), quantized.rows() + cost_rows(quantized.to_json())
