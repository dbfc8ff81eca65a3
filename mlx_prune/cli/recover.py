"""``mlxprune recover``: train a pruned model back, its zeros untouched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune import words
from mlx_prune.cli.terminal.console import emit_json, warn
from mlx_prune.cli.terminal.options import dtype_option, given, json_option, trust_option
from mlx_prune.cli.terminal.progress import progress_bars

if TYPE_CHECKING:
    from mlx_prune.checkpoint.record import PruningRecord, Recovered
    from mlx_prune.cli.tables.pruned import Rows


class _RecoverCommand(click.Command):
    """Its options follow from the settings of a recovery when it is called."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The fixed options around the settings."""
        from mlx_prune.cli.prune_options import click_options
        from mlx_prune.recovery.settings import Recovery

        first = [param for param in self.params if param.name in ("model", "out", "data", "teacher")]
        last = [param for param in super().get_params(ctx) if param not in first]
        return [*first, *click_options(Recovery), *last]


@click.command("recover", cls=_RecoverCommand, short_help="Train a pruned model back; its zeros stay zeros.")
@click.argument("model", metavar="PRUNED")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="Folder to write."
)
@click.option(
    "--data",
    metavar="c4|hub:...|FILE|demo",
    help="What to learn from: c4, hub:ORG/NAME (a data set; further [@REVISION][:CONFIG][/SPLIT][#COLUMN]), "
    "a text or JSONL file (text, messages, or prompt and completion), or demo, an invented text and the "
    "default of what was pruned from the embedded model only. Its end, a tenth at most, is held out.",
)
@click.option(
    "--teacher",
    metavar="MODEL",
    help="The dense model. [default: the one that PRUNED's pruning_meta.json names]",
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
    data: str | None,
    teacher: str | None,
    dtype: str,
    force: bool,
    trust_remote_code: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train PRUNED towards the dense model into a folder that stock mlx-lm loads.

    Kept weights of masks are fitted to the dense matrices' outputs by least squares. Then low-rank
    updates (with --full, the kept weights themselves) are trained on the dense model's next-token
    distributions and merged under the mask: every zero stays a zero, bit for bit. Both models are in memory.
    Of quantized weights every bit stays, and the updates lie beside them (adapters.safetensors), to be
    loaded by mlx_lm.load(FOLDER, adapter_path=FOLDER). The training carries on where it was stopped.
    """
    from mlx_prune.checkpoint.invented import calibration_warnings
    from mlx_prune.recovery.job import recover
    from mlx_prune.recovery.settings import Recovery

    if options["full"] and given(context, "rank"):
        raise click.UsageError("--rank would be ignored: --full trains the weights themselves.", context)
    with progress_bars() as progress:
        record = recover(
            model,
            out,
            data=data,
            teacher=teacher,
            settings=Recovery(**options),
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            force=force,
            progress=progress,
        )
    found = record.recovery
    assert found is not None
    warnings = [*calibration_warnings(record.model or "", found.data), *_shortfalls(found)]
    if as_json:
        emit_json({"output": out, **record.entries, "warnings": [*(record.warnings or []), *warnings]})
    else:
        from mlx_prune.cli.tables.pruned import print_rows

        print_rows([*recovery_rows(record), ("written to", str(out))])
    for warning in warnings:
        warn(warning)


_FIRST_STEPS = {"least-squares": "least squares", "eora": "EoRA"}


def recovery_rows(record: PruningRecord) -> Rows:
    """What a recovery did, for a person."""
    found = record.recovery
    assert found is not None
    data = found.data
    rows = [
        ("method", f"{record.method} {words.percentage(record.target_sparsity, None)}"),
        ("recovered", found.did),
        *([("teacher", found.teacher)] if found.teacher else []),
        (
            "data",
            f"{data['source']}, {data['sequences']:,} x {data['sequence_length']} tokens; "
            f"{words.counted(data['held_out_sequences'], 'sequence')} held out",
        ),
        (
            "steps",
            f"{found.steps:,} kept of {record.entries['recovery']['steps_tried']:,}, {found.tokens:,} tokens",
        ),
    ]
    first = record.entries["recovery"]["first_step"]
    if first is not None:
        shares = [words.percent(first[f"error_{when}"], 1) for when in ("before", "after")]
        end = "" if first["taken"] else "; undone, as the held-out divergence rose"
        change = f"error of a matrix's outputs {shares[0]} -> {shares[1]} on average{end}"
        rows.append((_FIRST_STEPS[first["method"]], change))
    for name in ("teacher", "pruned", "recovered"):
        value = found.perplexity(name)
        if value is not None:
            shown = words.magnitude(value)
            closed = found.gap_closed if name == "recovered" else None
            end = "" if closed is None else f" ({words.percent(closed, 0)} of the gap closed)"
            rows.append((f"perplexity, {'dense' if name == 'teacher' else name}", shown + end))
    if found.adapter_bytes is not None:
        rows.append(
            (
                "adapters",
                f"{words.size(found.adapter_bytes)} beside the quantized weights, whose bits are the same; "
                "mlx_lm.load(FOLDER, adapter_path=FOLDER) adds them, as mlxprune does",
            )
        )
    elif record.zero_params:
        rows.append(("zeros", f"{words.count(record.zero_params)}, the same as before"))
    rows.append(("time", words.duration(found.recover_time_s)))
    rows.append(("peak memory", words.size(record.entries["recovery"]["peak_memory_bytes"])))
    return rows


def _shortfalls(found: Recovered) -> list[str]:
    """A sentence where nothing was gained."""
    before, after = found.held_out["pruned"]["loss"], found.held_out["recovered"]["loss"]
    if before is None or after is None or after < before:
        return []
    return [
        "The held-out loss did not become smaller, so nothing was recovered; try more text, more --steps or "
        "another --learning-rate."
    ]
