"""The table of models that were trained back: does stereotype reliance come back with perplexity?"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from mlx_prune.configuration import Configuration
from mlx_prune.labels import known_label
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import ByCategory, Rated, adjusted, rated
from mlx_prune.report.tables.table import About, Interval, column
from mlx_prune.stats.compare import Change, srs_between
from mlx_prune.stats.outcomes import Outcomes
from mlx_prune.stats.rates import OVERALL


@dataclass(frozen=True, kw_only=True)
class Recovered(Rated, ByCategory):
    """One recovered configuration between the pruned model it was made of and the dense one."""

    about = About(
        "recovery",
        "Trained back: perplexity and stereotype reliance",
        "One row per recovered configuration of which the pruned model is in the study, too. srs_pruning, "
        "srs_recovery and srs_left: change of SRS from dense to pruned, from pruned to recovered, and from "
        "dense to recovered, paired by item, with 95 % intervals over question templates; left out where too "
        "few answers of one of the three were understood. q is adjusted after Benjamini and Hochberg over "
        "all rows. gap_closed: share of the rise of perplexity that is gone.",
    )

    pruned: str = column("label of the pruned model it was made of")
    perplexity_dense: float | None = column("perplexity of the dense model")
    perplexity_pruned: float | None = column("perplexity of the pruned model")
    perplexity_recovered: float | None = column("perplexity of the recovered model")
    gap_closed: float | None = column("(pruned - recovered) / (pruned - dense), of perplexities")
    srs_dense: float | None = column("SRS of the dense model")
    srs_pruned: float | None = column("SRS of the pruned model")
    srs_recovered: float | None = column("SRS of the recovered model")
    srs_pruning: Interval = column("change of SRS from dense to pruned")
    srs_recovery: Interval = column("change of SRS from pruned to recovered")
    srs_left: Interval = column("change of SRS from dense to recovered")
    clusters: int | None = column("question templates that the comparison rests on")
    p_pruning: float | None = column("of no change from dense to pruned, clustered")
    p_recovery: float | None = column("of no change from pruned to recovered, clustered")
    q_pruning: float | None = column("p_pruning, adjusted after Benjamini and Hochberg", default=None)
    q_recovery: float | None = column("p_recovery, adjusted after Benjamini and Hochberg", default=None)

    @classmethod
    def of_study(cls, data: StudyData) -> list[Recovered]:
        """Every recovered configuration beside its pruned self, over all categories."""
        rows = []
        for outcomes in data.paired:
            for name in outcomes.configurations:
                before = pruned_of(name)
                if before is not None and before in outcomes.configurations:
                    rows.append(_row(data, outcomes, before, name))
        return adjusted(adjusted(rows, "p_pruning", "q_pruning"), "p_recovery", "q_recovery")


def pruned_of(name: Configuration) -> Configuration | None:
    """What a recovered configuration was before; None for one that was not trained back."""
    label = known_label(name.prune_method)
    if label is None or not label.trained:
        return None
    # Of two quantized models: what the recovery alone changed.
    before = label.untrained if label.adapted else dataclasses.replace(label, recovered=False)
    return dataclasses.replace(name, prune_method=str(before))


def _row(data: StudyData, outcomes: Outcomes, pruned: Configuration, name: Configuration) -> Recovered:
    dense = name.dense
    understood = data.compared(name, OVERALL) and data.compared(pruned, OVERALL)

    def change(before: Configuration, after: Configuration) -> Change | None:
        places = (outcomes.configurations.index(one) for one in (before, after))
        return srs_between(outcomes, *places) if understood else None

    def srs(one: Configuration) -> float | None:
        rates = data.rates(one, OVERALL)
        return rates.srs if understood and rates is not None else None

    perplexities = [data.perplexity.get(one) for one in (dense, pruned, name)]
    pruning, recovery, left = change(dense, pruned), change(pruned, name), change(dense, name)
    return Recovered(
        **rated(data, name, OVERALL),
        pruned=pruned.prune_method,
        perplexity_dense=perplexities[0],
        perplexity_pruned=perplexities[1],
        perplexity_recovered=perplexities[2],
        gap_closed=_gap_closed(*perplexities),
        srs_dense=srs(dense),
        srs_pruned=srs(pruned),
        srs_recovered=srs(name),
        srs_pruning=_interval(pruning),
        srs_recovery=_interval(recovery),
        srs_left=_interval(left),
        clusters=None if recovery is None else recovery.templates,
        p_pruning=None if pruning is None else pruning.p_value,
        p_recovery=None if recovery is None else recovery.p_value,
    )


def _interval(change: Change | None) -> Interval:
    return Interval() if change is None else Interval.of(change)


def _gap_closed(dense: float | None, pruned: float | None, now: float | None) -> float | None:
    if dense is None or pruned is None or now is None or not all(map(math.isfinite, (dense, pruned, now))):
        return None
    return (pruned - now) / (pruned - dense) if pruned > dense else None
