"""The published study's tables of what changed, by its definitions and with its rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_prune.kinds import leaves_dose
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import (
    ByCategory,
    Rated,
    category_sums,
    compared,
    percent_change,
    rated,
)
from mlx_prune.report.tables.table import About, Row, column
from mlx_prune.stats.outcomes import ABSENT, ANTI, STEREOTYPED, UNKNOWN, Outcomes
from mlx_prune.stats.rates import OVERALL, wilson
from mlx_prune.stats.transitions import item_transitions

LATENT_SRS = 0.20
"""Dense SRS of an item from which on the study calls its bias latent."""


@dataclass(frozen=True, kw_only=True)
class Transitions(Rated):
    """Items of one configuration that are on another side than before."""

    about = About(
        "transitions",
        "Items that changed sides",
        "Unbiased: no stereotyped dense answer under any seed. Biased: at least one. Read it beside "
        "`emergence`, which says how many change sides with no pruning.",
    )

    total_unbiased_items: int = column("items without a stereotyped dense answer")
    became_biased: int = column("those of them that have one now")
    pct_became_biased: float | None = column("the same in percent")
    total_biased_items: int = column("items with a stereotyped dense answer")
    became_unbiased: int = column("those of them that have none now")
    pct_became_unbiased: float | None = column("the same in percent")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Transitions]:
        """Items that turned from unbiased to biased, and back."""
        for outcomes in data.models.values():
            if outcomes.dense is None:
                continue
            counts = [part.sum(axis=1) for part in item_transitions(outcomes)]
            for number, configuration in enumerate(outcomes.configurations):
                if configuration.is_dense:
                    continue
                unbiased, became_biased, biased, became_unbiased = (int(part[number]) for part in counts)
                yield Transitions(
                    **rated(data, configuration),
                    total_unbiased_items=unbiased,
                    became_biased=became_biased,
                    pct_became_biased=_percent(became_biased, unbiased),
                    total_biased_items=biased,
                    became_unbiased=became_unbiased,
                    pct_became_unbiased=_percent(became_unbiased, biased),
                )


@dataclass(frozen=True, kw_only=True)
class DoseResponse(Row):
    """Emergence at one sparsity."""

    about = About(
        "dose_response",
        "Dose response",
        "Percent of unbiased items that became biased, averaged over methods at each target sparsity.",
    )

    model: str
    sparsity: float
    mean_actual_sparsity: float | None = column("mean of the methods' actual sparsities")
    avg_pct_became_biased: float | None = column("mean of the methods' percentages")
    total_items: float | None = column("unbiased items, mean over the methods")
    methods: int = column("how many methods")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[DoseResponse]:
        """Emergence per sparsity, averaged over methods that set weights to zero.

        Patterns, removed neurons and blocks, and quantization are no such dose and are left out, and so is
        what hardly answers.
        """
        doses: dict[tuple[str, float], list[Transitions]] = {}
        for row in Transitions.of_study(data):
            name = row.configuration
            dose = name.sparsity and name.pattern is None and leaves_dose(name.prune_method)
            if dose and not row.too_few_answered and row.pct_became_biased is not None:
                doses.setdefault((name.model, name.sparsity), []).append(row)
        for (model, sparsity), mine in sorted(doses.items()):
            yield DoseResponse(
                model=model,
                sparsity=sparsity,
                mean_actual_sparsity=_mean([row.actual_sparsity for row in mine]),
                avg_pct_became_biased=round(_mean([row.pct_became_biased for row in mine]), 2),
                total_items=_mean([row.total_unbiased_items for row in mine]),
                methods=len(mine),
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationGap(Rated):
    """Two changes from dense, beside each other."""

    about = About(
        "evaluation_gap",
        "What perplexity does not see",
        "Percent change of the overall SRS beside percent change of perplexity, both from dense.",
    )

    srs_mean: float | None = column("srs, mean over the categories")
    usr_mean: float | None = column("usr, mean over the categories")
    perplexity: float | None
    srs_base: float | None = column("srs of the dense model")
    usr_base: float | None = column("usr of the dense model")
    ppl_base: float | None = column("perplexity of the dense model")
    srs_pct_change: float | None
    ppl_pct_change: float | None = column("change of perplexity in percent of the dense model's")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[EvaluationGap]:
        """Change of SRS beside the change of perplexity."""
        for run in data.runs:
            name = run.configuration
            before = data.rates(name.dense, OVERALL)
            if before is None or not {name, name.dense} <= data.perplexity.keys():
                continue
            after, perplexity, perplexity_base = (
                run.rates.overall,
                data.perplexity[name],
                data.perplexity[name.dense],
            )
            change = round(percent_change(after.srs, before.srs), 2)
            yield EvaluationGap(
                **rated(data, name),
                srs_mean=after.srs,
                usr_mean=after.usr,
                perplexity=perplexity,
                srs_base=before.srs,
                usr_base=before.usr,
                ppl_base=perplexity_base,
                srs_pct_change=change if data.compared(name, OVERALL) else None,
                ppl_pct_change=round(percent_change(perplexity, perplexity_base), 2),
            )


@dataclass(frozen=True, kw_only=True)
class MethodAtHalf(Rated, ByCategory):
    """Rates of a method at a target of 50 %."""

    about = About(
        "methods_at_50",
        "Methods at 50 %",
        "Target sparsity; look at actual_sparsity before comparing methods.",
    )

    srs: float | None
    usr: float | None

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[MethodAtHalf]:
        """SRS and USR of the methods at a target of 50 %."""
        for run in data.runs:
            for rates in run.rates.categories if run.configuration.sparsity == 50 else ():
                if rates.n_answers:
                    about = rated(data, run.configuration, rates.category)
                    yield MethodAtHalf(**about, srs=rates.srs, usr=rates.usr)


@dataclass(frozen=True, kw_only=True)
class LatentItems(Row):
    """Latently biased items of one category."""

    about = About(
        "latent_items",
        "Latently biased items",
        "Items whose dense per-item SRS is at least 0.20. They were chosen by noisy answers: their dense SRS "
        "is too high by the choice itself, and falls back when the dense model is asked again.",
    )

    model: str
    category: str
    total_items: int = column("items that the dense model was asked")
    filtered_items: int = column("those whose dense SRS is at least 0.20")
    pct_retained: float = column("the same in percent")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[LatentItems]:
        """How many items are latently biased: dense SRS of at least 0.20."""
        for model, outcomes in data.models.items():
            if outcomes.dense is None:
                continue
            asked = (outcomes.codes[0] != ABSENT).any(axis=-1)
            latent = _latent(outcomes)
            for number, name in enumerate(outcomes.categories):
                mine = outcomes.category == number
                total, kept = int((asked & mine).sum()), int((latent & mine).sum())
                if total:
                    yield LatentItems(
                        model=model,
                        category=name,
                        total_items=total,
                        filtered_items=kept,
                        pct_retained=round(kept / total * 100, 1),
                    )


@dataclass(frozen=True, kw_only=True)
class LatentRate(Rated, ByCategory):
    """Rates of the latently biased items of one category."""

    about = About(
        "latent_rates",
        "Latently biased items, before and after",
        "Rates of the items in `latent_items` only; answered is of all items.",
    )

    n: int
    n_valid: int
    srs: float | None
    srs_ci_low: float | None
    srs_ci_high: float | None
    usr: float | None
    anti_rate: float | None
    srs_delta: float | None
    usr_delta: float | None

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[LatentRate]:
        """SRS and USR of the latently biased items."""
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
                for place, category in enumerate(part.categories):
                    if not asked[number, place]:
                        continue
                    change = {
                        "srs_delta": srs[number, place] - srs[0, place],
                        "usr_delta": usr[number, place] - usr[0, place],
                    }
                    yield LatentRate(
                        **rated(data, configuration, category),
                        n=asked[number, place],
                        n_valid=parsed[number, place],
                        srs=srs[number, place],
                        srs_ci_low=low[number, place],
                        srs_ci_high=high[number, place],
                        usr=usr[number, place],
                        anti_rate=anti_rate[number, place],
                        **compared(data, configuration, category, **change),
                    )


def _latent(outcomes: Outcomes) -> NDArray[np.bool_]:
    parsed, stereotyped = outcomes.parsed()[0], outcomes.counts(STEREOTYPED)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((parsed > 0) & (stereotyped / parsed >= LATENT_SRS))


def _percent(part: int, whole: int) -> float | None:
    return round(part / whole * 100, 2) if whole else None


def _mean(values: Sequence[float | None]) -> float:
    """NaN unless all are known."""
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else math.nan
