"""``mlxprune inspect``: where the zeros of a model are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlx_prune import words
from mlx_prune.cli.terminal.console import console, emit_json, say, warn
from mlx_prune.cli.terminal.options import json_option, trust_option
from mlx_prune.cli.terminal.progress import progress_bars
from mlx_prune.cli.terminal.table import simple_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlx_prune.checkpoint.record import Recovered
    from mlx_prune.cli.terminal.table import FittedTable


@click.command("inspect", short_help="Where the zeros of a model are.")
@click.argument("model")
@trust_option
@json_option
def command(model: str, trust_remote_code: bool, as_json: bool) -> None:
    """Count the zeros of MODEL by projection and by block, and compare with what was recorded."""
    from mlx_prune.checkpoint.inspection import inspect

    with progress_bars() as progress:
        found = inspect(model, trust_remote_code=trust_remote_code, progress=progress)
    if as_json:
        emit_json(found.to_json())
        return
    out = console()
    out.print(_table("By projection", "projection", found.projections))
    out.print(_table("By block", "block", found.blocks))
    if found.experts:
        out.print(_experts(found.experts, found.kept_experts))
    zeros = sum(matrix.zeros for matrix in found.matrices)
    total = sum(matrix.params for matrix in found.matrices)
    say(f"Actual sparsity {words.percent(found.actual_sparsity, 2)}: {zeros:,} zeros of {total:,} weights.")
    say(f"{words.fixed(found.bits_per_weight, 2)} bits per weight on disk, of the whole model.")
    if found.left_dense:
        say(f"Left dense: {', '.join(found.left_dense)}.")
    if found.others:
        names = dict.fromkeys(matrix.projection for matrix in found.others)
        say(f"Never pruned, and not counted: {', '.join(names)}.")
    if found.record is not None:
        recorded = found.record
        target, actual = recorded.target_sparsity, recorded.actual_sparsity
        say(
            f"Recorded: {recorded.method} {words.percentage(target, None)} on "
            f"{recorded.model}, actual {words.percentage(actual, 2)}."
        )
        if recorded.recovery is not None:
            say(_recovered(recorded.recovery))
        if recorded.layers:
            say(f"Asked of single layers: {words.layers(recorded.layers)}.")
        if not found.disagreements:
            say("The weights agree with the record.")
    for disagreement in found.disagreements:
        warn(disagreement)


def _recovered(found: Recovered) -> str:
    """What a recovery did, in a sentence."""
    before, after = (words.magnitude(found.perplexity(of)) for of in ("pruned", "recovered"))
    return (
        f"Recovered on {found.data.get('source')}: {found.did}; perplexity on its held-out part "
        f"{before} before, {after} after."
    )


def _experts(counts: Mapping[int, int], kept: Mapping[int, list[int]]) -> FittedTable:
    table = simple_table("Experts", ["block"], ["experts", *(["of the dense model's"] if kept else [])])
    for block, count in counts.items():
        own = [words.ranges(kept[block])] if block in kept else [""] if kept else []
        table.add_row(str(block), str(count), *own)
    return table


def _table(title: str, key: str, zeros: dict[str, dict[str, int]]) -> FittedTable:
    table = simple_table(title, [key], ["weights", "zeros", "sparsity"])
    for name, entry in zeros.items():
        share = words.percent(entry["zeros"] / entry["params"], 2)
        table.add_row(name, words.count(entry["params"]), words.count(entry["zeros"]), share)
    return table
