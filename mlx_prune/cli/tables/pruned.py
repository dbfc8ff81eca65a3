"""What ``mlxprune prune`` prints of a result: what was done, and what the model costs before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune import words
from mlx_prune.cli.terminal.console import console

if TYPE_CHECKING:
    from mlx_prune.checkpoint.open import Checkpoint
    from mlx_prune.pruning.mask_report import PruneReport
    from mlx_prune.pruning.structure_report import StructuredReport

Rows = list[tuple[str, str]]
Costs = dict[str, dict[str, int]]

_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("parameters", words.count),
    "bytes": ("size on disk", words.size),
    "flops_per_token": ("FLOPs per token", words.count),
}


def mask_rows(report: PruneReport) -> Rows:
    """What setting single weights to zero did."""
    recipe = report.recipe
    target = words.percent(report.target_sparsity, None) + (f" ({recipe.pattern})" if recipe.pattern else "")
    rows = [
        ("method", recipe.label + ("" if recipe.scope == "blocks" else f", scope {recipe.scope}")),
        ("target sparsity", target),
        ("actual sparsity", words.percent(report.actual_sparsity, 2)),
        ("zeros", f"{report.zero_params:,} of {report.total_prunable_params:,} prunable weights"),
    ]
    if report.record.layers:
        rows.insert(2, ("of single layers", words.layers(report.record.layers)))
    if report.calibration is not None:
        text = report.calibration
        amount = f"{text['samples']} x {text['sequence_length']} tokens"
        rows.append(("calibration", f"{text['source']}, {amount}, {recipe.statistics}"))
    rows.append(("time", f"{report.prune_time_s:.1f} s ({report.calibration_time_s:.1f} s calibration)"))
    rows.append(("peak memory", words.size(report.peak_memory_bytes)))
    return rows


def structured_rows(report: StructuredReport) -> Rows:
    """What removing neurons, heads or blocks did."""
    rows = [
        ("method", report.recipe.label),
        ("target", f"{words.percent(report.target_sparsity, None)} removed"),
        ("actual sparsity", f"{words.percent(report.actual_sparsity, 2)} of the blocks' weights removed"),
    ]
    rows += [
        (name if name[:2].isupper() else name[0].lower() + name[1:], said) for name, said in report.rows()
    ]
    return [*rows, ("time", f"{report.prune_time_s:.1f} s ({report.calibration_time_s:.1f} s calibration)")]


def mask_costs(source: Checkpoint, out: Path) -> Costs:
    """Parameters, bytes and FLOPs of a model and of its copy with zeros, which change none of them."""
    from dataclasses import asdict

    from mlx_prune.checkpoint.costs import CONTEXT
    from mlx_prune.checkpoint.open import Checkpoint

    pruned = Checkpoint(out, source.trust_remote_code)
    before, after = asdict(source.costs()), asdict(pruned.costs())
    costs = {key: {"before": before[key], "after": after[key]} for key in _COSTS}
    costs["flops_per_token"]["context"] = CONTEXT
    return costs


def cost_rows(values: Mapping[str, Any]) -> Rows:
    """Before and after, as far as a record says it."""
    rows = []
    for key, (name, shown) in _COSTS.items():
        found = values.get(key)
        if not isinstance(found, dict):
            continue
        context = f" (at {found['context']:,} tokens)" if "context" in found else ""
        rows.append((name + context, words.before_after(found["before"], found["after"], shown)))
    return rows


def print_rows(rows: Rows) -> None:
    """A table of names and values on stdout."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    console().print(table)
