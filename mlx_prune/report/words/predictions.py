"""Sentences on predictions: where they moved and perplexity did not, and which answers gave way."""

from __future__ import annotations

from mlx_prune import words
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.divergence import Distance
from mlx_prune.report.tables.table import Interval, finite
from mlx_prune.report.tables.uncertainty import Uncertainty
from mlx_prune.report.words.meaning import UNNOTICED_PERPLEXITY
from mlx_prune.stats.uncertainty import DECILES

# Share of tokens with another likeliest one from which on it is worth a sentence.
_MANY_OTHERS = 0.02


def change_of_perplexity(change: Interval) -> str:
    """In percent, with its interval: "+0.9 % (95 % interval +0.7 % to +1.1 %)"."""
    value = words.rise(None if change.value is None else change.value / 100)
    if change.ends is None:
        return value
    low, high = (words.rise(end / 100) for end in change.ends)
    return f"{value} (95 % interval {low} to {high})"


def divergence_sentence(tables: Tables) -> str:
    """The model whose predictions moved furthest of those whose perplexity hardly did; empty without one."""
    quiet = [
        row
        for row in tables.divergence.rows
        if (finite(row.perplexity_change.value) or 0.0) < UNNOTICED_PERPLEXITY
        and row.same_top.value is not None
        and 1 - row.same_top.value >= _MANY_OTHERS
    ]
    if not quiet:
        return ""
    row: Distance = min(quiet, key=lambda one: one.same_top.value or 0.0)
    ends = row.same_top.ends
    reach = f" (95 % interval {words.percents(1 - ends[1], 1 - ends[0])})" if ends else ""
    return (
        f"Predictions move further than perplexity tells: {row.configuration.full_name} changed it by "
        f"{change_of_perplexity(row.perplexity_change)}, and holds another token for the likeliest than the "
        f"dense model at {words.percent(1 - (row.same_top.value or 0.0))}{reach} of positions (KL divergence "
        f"{words.number(row.kl.value)} nats per token)."
    )


def uncertainty_sentence(tables: Tables) -> str:
    """How much oftener answers changed where the dense model was unsure; empty where that cannot be told."""
    rows = {
        (row.configuration, row.decile): row for row in tables.uncertainty.rows if not row.too_few_answered
    }
    pairs = [
        (rows[name, 1], rows[name, DECILES])
        for name in dict.fromkeys(name for name, _ in rows)
        if (name, 1) in rows and (name, DECILES) in rows
    ]
    apart = [(sure, unsure) for sure, unsure in pairs if _above(unsure, sure)]
    if not apart:
        return ""
    sure, unsure = max(apart, key=lambda pair: pair[1].changed.value or 0.0)
    which = (
        "the one compressed model" if len(pairs) == 1 else f"{len(apart)} of {len(pairs)} compressed models"
    )
    return (
        f"Answers that the dense model was unsure of give way first: in {which}, more of them changed in the "
        f"tenth of the questions where its letter probabilities were most even than where they were least, "
        f"beyond chance; of {unsure.configuration.full_name} {_share(unsure)} against {_share(sure)}."
    )


def _above(one: Uncertainty, other: Uncertainty) -> bool:
    above, below = one.changed.ends, other.changed.ends
    return above is not None and below is not None and above[0] > below[1]


def _share(row: Uncertainty) -> str:
    ends = row.changed.ends
    reach = f" ({words.percents(*ends)})" if ends else ""
    return f"{words.percent(row.changed.value)}{reach}"
