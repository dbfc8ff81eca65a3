"""Distances from the dense model, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mlx_prune import words
from mlx_prune.cli.terminal.table import FittedTable, simple_table
from mlx_prune.stats.divergence import Divergence

if TYPE_CHECKING:
    from rich.console import Console

    from mlx_prune.runs.divergence_file import DivergenceContent

DIVERGENCE_LEGEND = (
    "KL: divergence of the next token's distribution, KL(dense || model), in nats. same top: tokens of which "
    "both hold the same one for the likeliest. change of p: of the right token's probability, root mean "
    "square. perplexity: relative to dense, paired. Below: 95 % intervals over sequences."
)
BUCKET_LEGEND = (
    "lacks: what the mean is too small by, since the dense model's unlikely tokens are one bucket; estimated."
)


def print_divergences(screen: Console, content: DivergenceContent) -> None:
    """The table, and what it rests on."""
    screen.print(divergence_table([(row.model, row.figure) for row in content.models]))
    screen.print(DIVERGENCE_LEGEND, style="dim")
    if content.top < content.vocabulary:
        screen.print(BUCKET_LEGEND, style="dim")
        kept = (
            f"{content.top:,} likeliest tokens are kept, the others are one bucket with "
            f"{words.some_percent(content.rest)} of the probability"
        )
    else:
        kept = "whole distributions are kept"
    screen.print(
        f"On {content.text}: {words.counted(content.sequences, 'sequence')} of {content.sequence_length:,} "
        f"tokens. Dense: {content.dense}, perplexity {words.magnitude(content.dense_perplexity)}, "
        f"{content.dtype}; its {kept} ({words.size(content.cache_bytes)} in the cache).",
        style="dim",
    )


def divergence_table(rows: Sequence[tuple[str, Divergence]]) -> FittedTable:
    """One row per model, intervals below the figures."""
    table = simple_table(
        "Distance from the dense model",
        ["model"],
        ["KL mean", "lacks", "median", "99 %", "largest", "same top", "change of p", "perplexity"],
    )
    for name, row in rows:
        table.add_row(
            name,
            _with(row.kl, row.kl_low, row.kl_high, nats),
            words.percent(row.kl_missing / row.kl if row.kl else 0.0),
            nats(row.kl_median),
            nats(row.kl_99),
            nats(row.kl_max),
            _with(row.same_top, row.same_top_low, row.same_top_high, words.percent),
            _with(row.probability_rms, row.probability_rms_low, row.probability_rms_high, words.percent),
            _with(row.log_ratio, row.log_ratio_low, row.log_ratio_high, _relative),
        )
    return table


def nats(value: float) -> str:
    """A divergence in three significant digits: 0.0123, 1.23, 1.2e-05."""
    if math.isinf(value):
        return "∞"
    return words.fixed(value, 2) if value >= 1 else f"{value:.3g}"


def _relative(log_ratio: float) -> str:
    return words.rise(math.inf if log_ratio > 700 else math.expm1(log_ratio))


def _with(value: float, low: float, high: float, write: Callable[[float], str]) -> str:
    ends = words.interval(low, high, lambda end: write(end).removesuffix(" %"))
    return write(value) if ends == words.NONE else f"{write(value)}\n{ends}"
