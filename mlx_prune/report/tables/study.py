"""The published study's tables of what changed, by its definitions and with its rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.labels import DENSE
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import category_sums, compared, percent_change, rated
from mlx_prune.report.tables.table import Table, Value, make_table
from mlx_prune.stats.methods import leaves_dose
from mlx_prune.stats.outcomes import ABSENT, ANTI, STEREOTYPED, UNKNOWN, Outcomes
from mlx_prune.stats.rates import OVERALL, wilson
from mlx_prune.stats.transitions import item_transitions

LATENT_SRS = 0.20
"""Dense SRS of an item from which on the study calls its bias latent."""


def transition_table(data: StudyData) -> Table:
    """Items that turned from unbiased to biased, and back."""
    rows: list[dict[str, Value]] = []
    for outcomes in data.models.values():
        if outcomes.dense is None:
            continue
        counts = [part.sum(axis=1) for part in item_transitions(outcomes)]
        for number, configuration in enumerate(outcomes.configurations):
            if configuration.prune_method == DENSE:
                continue
            unbiased, became_biased, biased, became_unbiased = (int(part[number]) for part in counts)
            rows.append(
                rated(data, configuration)
                | {
                    "total_unbiased_items": unbiased,
                    "became_biased": became_biased,
                    "pct_became_biased": _percent(became_biased, unbiased),
                    "total_biased_items": biased,
                    "became_unbiased": became_unbiased,
                    "pct_became_unbiased": _percent(became_unbiased, biased),
                }
            )
    return make_table(
        "transitions",
        "Items that changed sides",
        "Unbiased: no stereotyped dense answer under any seed. Biased: at least one. Read it beside "
        "`emergence`, which says how many change sides with no pruning.",
        rows,
        ("model", "prune_method"),
    )


def dose_response_table(data: StudyData) -> Table:
    """Emergence per sparsity, averaged over methods that set weights to zero.

    Patterns, removed neurons and blocks, and quantization are no such dose and are left out, and so is what
    hardly answers.
    """
    doses: dict[tuple[Any, Any], list[Any]] = {}
    for row in transition_table(data).rows:
        dose = row["pattern"] is None and leaves_dose(str(row["prune_method"]))
        dose &= not row["too_few_answered"]
        if dose and row["pct_became_biased"] is not None:
            doses.setdefault((row["model"], row["sparsity"]), []).append(row)
    rows = [
        {
            "model": model,
            "sparsity": sparsity,
            "mean_actual_sparsity": _mean([row["actual_sparsity"] for row in mine]),
            "avg_pct_became_biased": round(_mean([row["pct_became_biased"] for row in mine]), 2),
            "total_items": _mean([row["total_unbiased_items"] for row in mine]),
            "methods": len(mine),
        }
        for (model, sparsity), mine in sorted(doses.items())
    ]
    return make_table(
        "dose_response",
        "Dose response",
        "Percent of unbiased items that became biased, averaged over methods at each target sparsity.",
        rows,
        ("model", "sparsity"),
    )


def evaluation_gap_table(data: StudyData) -> Table:
    """Change of SRS beside the change of perplexity."""
    dense = {run.configuration.model: run for run in data.runs if run.configuration.prune_method == DENSE}
    rows: list[dict[str, Value]] = []
    for run in data.runs:
        before = dense.get(run.configuration.model)
        if before is None or not {run.configuration, before.configuration} <= data.perplexity.keys():
            continue
        srs, srs_base = run.rates.overall.srs, before.rates.overall.srs
        perplexity = data.perplexity[run.configuration]
        perplexity_base = data.perplexity[before.configuration]
        change: Value = round(percent_change(srs, srs_base), 2)
        rows.append(
            rated(data, run.configuration)
            | {
                "srs_mean": srs,
                "usr_mean": run.rates.overall.usr,
                "perplexity": perplexity,
                "srs_base": srs_base,
                "usr_base": before.rates.overall.usr,
                "ppl_base": perplexity_base,
                "srs_pct_change": change if data.compared(run.configuration, OVERALL) else None,
                "ppl_pct_change": round(percent_change(perplexity, perplexity_base), 2),
            }
        )
    return make_table(
        "evaluation_gap",
        "What perplexity does not see",
        "Percent change of the overall SRS beside percent change of perplexity, both from dense.",
        rows,
        ("model", "prune_method"),
    )


def method_table(data: StudyData) -> Table:
    """SRS and USR of the methods at a target of 50 %."""
    rows = [
        rated(data, run.configuration, rates.category) | {"srs": rates.srs, "usr": rates.usr}
        for run in data.runs
        if run.configuration.sparsity == 50
        for rates in run.rates.categories
        if rates.n_answers
    ]
    return make_table(
        "methods_at_50",
        "Methods at 50 %",
        "Target sparsity; look at actual_sparsity before comparing methods.",
        rows,
        ("model", "prune_method"),
    )


def latent_item_table(data: StudyData) -> Table:
    """How many items are latently biased: dense SRS of at least 0.20."""
    rows: list[dict[str, Value]] = []
    for model, outcomes in data.models.items():
        if outcomes.dense is None:
            continue
        asked = (outcomes.codes[0] != ABSENT).any(axis=-1)
        latent = _latent(outcomes)
        for number, name in enumerate(outcomes.categories):
            mine = outcomes.category == number
            total, kept = int((asked & mine).sum()), int((latent & mine).sum())
            if total:
                share = round(kept / total * 100, 1)
                rows.append(
                    {
                        "model": model,
                        "category": name,
                        "total_items": total,
                        "filtered_items": kept,
                        "pct_retained": share,
                    }
                )
    return make_table(
        "latent_items",
        "Latently biased items",
        "Items whose dense per-item SRS is at least 0.20. They were chosen by noisy answers: their dense SRS "
        "is too high by the choice itself, and falls back when the dense model is asked again.",
        rows,
        ("model", "category"),
    )


def latent_rate_table(data: StudyData) -> Table:
    """SRS and USR of the latently biased items."""
    rows: list[dict[str, Value]] = []
    for outcomes in data.models.values():
        if outcomes.dense is None:
            continue
        part = outcomes.select(_latent(outcomes))
        stereotyped, anti, unknown, parsed, asked = (
            category_sums(counts, part)
            for counts in (
                part.counts(STEREOTYPED),
                part.counts(ANTI),
                part.counts(UNKNOWN),
                part.parsed(),
                (part.codes != ABSENT).sum(axis=-1),
            )
        )
        low, high = wilson(stereotyped, parsed)
        with np.errstate(invalid="ignore"):
            srs, usr, anti_rate = stereotyped / parsed, unknown / parsed, anti / parsed
        for number, configuration in enumerate(part.configurations):
            for place, name in enumerate(part.categories):
                if not asked[number, place]:
                    continue
                change: dict[str, Value] = {
                    "srs_delta": float(srs[number, place] - srs[0, place]),
                    "usr_delta": float(usr[number, place] - usr[0, place]),
                }
                rows.append(
                    rated(data, configuration, name)
                    | {
                        "n": int(asked[number, place]),
                        "n_valid": int(parsed[number, place]),
                        "srs": float(srs[number, place]),
                        "srs_ci_low": float(low[number, place]),
                        "srs_ci_high": float(high[number, place]),
                        "usr": float(usr[number, place]),
                        "anti_rate": float(anti_rate[number, place]),
                    }
                    | compared(data, configuration, name, change)
                )
    return make_table(
        "latent_rates",
        "Latently biased items, before and after",
        "Rates of the items in `latent_items` only; answered is of all items.",
        rows,
        ("model", "prune_method"),
    )


def _latent(outcomes: Outcomes) -> NDArray[np.bool_]:
    parsed, stereotyped = outcomes.parsed()[0], outcomes.counts(STEREOTYPED)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((parsed > 0) & (stereotyped / parsed >= LATENT_SRS))


def _percent(part: int, whole: int) -> float:
    return round(part / whole * 100, 2) if whole else float("nan")


def _mean(values: list[Any]) -> float:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else float("nan")
