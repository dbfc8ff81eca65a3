"""Items and answers that change under compression: pruning beside quantization, on one definition.

The two published figures that are usually set against each other count different things. One is the share of
items never answered with the stereotype before that are at least once after (five answers each); the other
is the share of single answers that change between biased and unbiased, in either direction. Both are taken
here of every configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.configuration import Configuration
from mlx_prune.kinds import only_quantized
from mlx_prune.labels import known_label
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.published import published
from mlx_prune.report.tables.rows import Rated, rated
from mlx_prune.report.tables.table import About, Interval, column
from mlx_prune.stats.clustered import cluster_sums, clustered_wilson
from mlx_prune.stats.outcomes import Outcomes
from mlx_prune.stats.transitions import answer_flips, item_transitions

PRUNING, QUANTIZATION, BOTH = "pruning", "quantization", "pruning and quantization"
GIVEN = "given checkpoint"
MEASURED, REPORTED = "measured", "reported"


def compression(method: str) -> str:
    """What kind of compression a method is."""
    if only_quantized(method):
        return QUANTIZATION
    label = known_label(method)
    return BOTH if label is not None and label.quantization is not None else PRUNING


@dataclass(frozen=True, kw_only=True)
class Changing(Rated):
    """Both shares of one compressed configuration, or of a publication's models."""

    about = About(
        "items_changing",
        "Items that change: pruning beside quantization",
        "became_biased: of the items that the dense model never answered with the stereotype, those that are "
        "so answered at least once. flipped: of all answers, those that are stereotyped on one side only, "
        "dense or compressed, at the same item and seed. Both under shared noise, so that without "
        "compression nothing changes; 95 % intervals over question templates. Rows `reported` are other "
        "authors' figures on their models, with the range they gave; see `source`.",
    )

    compression: str = column("pruning, quantization, or both; or a checkpoint that was given")
    unbiased_items: int | None = column("items without a stereotyped dense answer", default=None)
    became_biased: Interval = column("share of them that have one now")
    flipped: Interval = column("share of answers that are stereotyped on one side only")
    flipped_to_stereotyped: float | None = column(
        "share of answers stereotyped afterwards only", default=None
    )
    kind: str = column("measured here, or reported by others")
    source: str | None = column("where it was reported", default=None)

    @classmethod
    def of_study(cls, data: StudyData) -> list[Changing]:
        """Both shares of every compressed configuration, with the published ones below."""
        rows = [row for outcomes in data.paired for row in _measured(data, outcomes)]
        return [*rows, *_reported()] if rows else []


def _measured(data: StudyData, outcomes: Outcomes) -> Iterator[Changing]:
    transitions, flips = item_transitions(outcomes), answer_flips(outcomes)
    became = _shares(outcomes, transitions.became_biased, transitions.unbiased_before)
    flipped = _shares(outcomes, flips.to_stereotyped + flips.from_stereotyped, flips.answers)
    to_stereotyped = _shares(outcomes, flips.to_stereotyped, flips.answers)
    for number, configuration in enumerate(outcomes.configurations[1:], start=1):
        yield Changing(
            **rated(data, configuration),
            compression=GIVEN if configuration.is_named else compression(configuration.prune_method),
            unbiased_items=int(transitions.unbiased_before[number].sum()),
            became_biased=became[number],
            flipped=flipped[number],
            flipped_to_stereotyped=to_stereotyped[number].value,
            kind=MEASURED,
        )


def _shares(outcomes: Outcomes, part: NDArray[Any], whole: NDArray[Any]) -> list[Interval]:
    """Pooled share of each configuration and its clustered interval, from counts (configurations, items)."""
    templates = int(outcomes.template.max()) + 1
    top = cluster_sums(part, outcomes.template, templates)
    bottom = cluster_sums(whole, outcomes.template, templates)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = top.sum(axis=1) / bottom.sum(axis=1)
    return [Interval(*ends) for ends in zip(share, *clustered_wilson(top, bottom), strict=True)]


def _reported() -> Iterator[Changing]:
    for entry in published()["items_changing"]:
        yield Changing(
            configuration=Configuration(entry["models"], entry["method"], float(entry["sparsity"])),
            actual_sparsity=None,
            answered=None,
            too_few_answered=False,
            compression=entry["compression"],
            became_biased=Interval(None, *entry.get("became_biased", ())),
            flipped=Interval(None, *entry.get("flipped", ())),
            kind=REPORTED,
            source=entry["source"],
        )
