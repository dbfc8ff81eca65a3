"""``mlxprune prune``: write a smaller copy of a model, or one with zeros."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli.prune_options import method_option, read_request, recipe_options
from mlx_prune.cli.terminal.console import emit_json, warn
from mlx_prune.cli.terminal.options import dtype_option, json_option, trust_option
from mlx_prune.cli.terminal.progress import progress_bars
from mlx_prune.registry import MASK, STRUCTURE, methods

if TYPE_CHECKING:
    from mlx_prune.cli.prune_options import Request
    from mlx_prune.cli.tables.pruned import Rows


class _PruneCommand(click.Command):
    """Its options and its help follow from the methods that there are when it is called."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The fixed options around those of the methods."""
        first = [param for param in self.params if param.name in ("model", "out")]
        last = [param for param in super().get_params(ctx) if param not in first]
        return [*first, method_option(), *recipe_options(), *last]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What each kind of method does, from their own words."""
        masks = list(methods(MASK))
        structures = [method.does for method in methods(STRUCTURE).values()]
        names = f"{', '.join(masks[:-1])} and {masks[-1]}"
        rest = [said.replace(" removes ", " ", 1) for said in structures[1:]]
        self.help = _HELP.format(masks=names, structures=", ".join([*structures[:1], *rest]))
        super().format_help_text(ctx, formatter)


_HELP = """Prune MODEL into a folder that stock mlx-lm loads.

{masks} set single weights to zero; {structures}. --bits or --mode quantizes the result, and -m quantize the \
model as it is.

Pruning holds one block of the model in memory at a time, and carries on where it was stopped.
"""


@click.command("prune", cls=_PruneCommand, short_help="Write a pruned or quantized copy of a model.")
@click.argument("model")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="Folder to write."
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
    """Read what was asked for, do it, and tell."""
    request = read_request(context, method, options)
    found = _run(model, out, request, options["dtype"], trust_remote_code, force)
    if found is None:
        return
    values, rows = found
    if as_json:
        emit_json({"output": out, **values})
    else:
        from mlx_prune.cli.tables.pruned import print_rows

        print_rows([*rows, ("written to", str(out))])
    for warning in values["warnings"]:
        warn(warning)


def _run(
    model: str, out: Path, request: Request, dtype: str, trust_remote_code: bool, force: bool
) -> tuple[dict[str, Any], Rows] | None:
    """Do it; the record and what a person should read of it, from the process that keeps the folder."""
    from mlx_prune import distributed
    from mlx_prune.checkpoint.open import Checkpoint
    from mlx_prune.cli.tables.pruned import cost_rows, mask_costs, mask_rows, structured_rows
    from mlx_prune.kernels.choice import KernelWarning
    from mlx_prune.pruning.job import write_copy
    from mlx_prune.pruning.mask_report import PruneReport
    from mlx_prune.pruning.structure_report import StructuredReport

    with progress_bars() as progress, warnings.catch_warnings():
        # The report has the sentence too, and is told in full below.
        warnings.simplefilter("ignore", KernelWarning)
        source = Checkpoint(model, trust_remote_code)
        report = write_copy(
            source, out, request.recipe, request.quantization, dtype=dtype, force=force, progress=progress
        )
        if distributed.rank() != 0:
            return None
        values = report.to_json()
        if isinstance(report, PruneReport):
            costs = mask_costs(source, out)
            return values | costs, mask_rows(report) + cost_rows(costs)
    if isinstance(report, StructuredReport):
        return values, structured_rows(report)
    return values, report.rows() + cost_rows(values)
