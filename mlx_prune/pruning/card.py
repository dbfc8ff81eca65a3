"""The README.md that every pruned checkpoint gets: what was done to it, and no claim beyond."""

from __future__ import annotations

import re

from mlx_prune.pruning.report import PruneReport


def short_card(report: PruneReport) -> str:
    """A minimal model card in Markdown, with the Hub's metadata in front."""
    recipe = report.recipe
    hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", report.model) and not report.model.startswith(".")
    lines = ["---", "library_name: mlx", "pipeline_tag: text-generation", "tags: [mlx, pruned, mlx-prune]"]
    if hub_id:
        lines.append(f"base_model: {report.model}")
    pattern = f", pattern {recipe.pattern}" if recipe.pattern else ""
    lines += [
        "---",
        "",
        f"# {report.model.rstrip('/').rsplit('/', 1)[-1]}, pruned",
        "",
        f"Pruned with mlx-prune: method {recipe.method}{pattern}, scope {recipe.scope}.",
        "",
        "| | |",
        "|---|---|",
        f"| target sparsity | {100 * report.target_sparsity:g} % |",
        f"| actual sparsity of the linear layers in the blocks | {100 * report.actual_sparsity:.2f} % |",
        f"| zeros | {report.zero_params:,} of {report.total_prunable_params:,} |",
    ]
    if recipe.statistics is not None:
        lines.append(f"| activation statistics | {recipe.statistics} |")
    if report.calibration is not None:
        text = report.calibration
        lines.append(
            f"| calibration | {text['source']}, {text['samples']} x {text['sequence_length']} tokens |"
        )
    lines += [
        "",
        "Weights are stored densely: the zeros save neither memory nor time by themselves. Nothing was "
        "measured on this checkpoint yet; pruning changes what a model says, stereotypes included. "
        "Measure before use.",
        "",
    ]
    return "\n".join([*lines, *(f"Warning: {warning}" for warning in report.warnings), ""])
