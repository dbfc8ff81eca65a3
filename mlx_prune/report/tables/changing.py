"""Items and answers that change under compression: pruning beside quantization, on one definition.

The two published figures that are usually set against each other count different things. One is the share of
items never answered with the stereotype before that are at least once after (five answers each); the other
is the share of single answers that change between biased and unbiased, in either direction. Both are taken
here of every configuration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.labels import known_label
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.published import published
from mlx_prune.report.tables.rows import Floats, rated
from mlx_prune.report.tables.table import Table, Value, make_table
from mlx_prune.stats.clustered import cluster_sums, clustered_wilson
from mlx_prune.stats.methods import only_quantized
from mlx_prune.stats.outcomes import Outcomes
from mlx_prune.stats.transitions import answer_flips, item_transitions

PRUNING, QUANTIZATION, BOTH = "pruning", "quantization", "pruning and quantization"
MEASURED, REPORTED = "measured", "reported"


def compression(method: str) -> str:
    """What kind of compression a method is."""
    if only_quantized(method):
        return QUANTIZATION
    label = known_label(method)
    return BOTH if label is not None and label.quantization is not None else PRUNING


def changing_table(data: StudyData) -> Table:
    """Both shares of every compressed configuration, with the published ones below."""
    rows: list[dict[str, Value]] = []
    for outcomes in data.models.values():
        if outcomes.dense is not None and len(outcomes.configurations) > 1:
            rows += _measured(data, outcomes)
    return make_table(
        "items_changing",
        "Items that change: pruning beside quantization",
        "became_biased: of the items that the dense model never answered with the stereotype, those that are "
        "so answered at least once. flipped: of all answers, those that are stereotyped on one side only, "
        "dense or compressed, at the same item and seed. Both under shared noise, so that without "
        "compression nothing changes; 95 % intervals over question templates. Rows `reported` are other "
        "authors' figures on their models, with the range they gave; see `source`.",
        [*rows, *_reported()] if rows else [],
        ("model", "prune_method", "compression"),
    )


def _measured(data: StudyData, outcomes: Outcomes) -> Iterator[dict[str, Value]]:
    transitions, flips = item_transitions(outcomes), answer_flips(outcomes)
    became = _share(outcomes, transitions.became_biased, transitions.unbiased_before)
    flipped = _share(outcomes, flips.to_stereotyped + flips.from_stereotyped, flips.answers)
    to_stereotyped = _share(outcomes, flips.to_stereotyped, flips.answers)[0]
    for number, configuration in enumerate(outcomes.configurations):
        if number == outcomes.dense:
            continue
        row = rated(data, configuration) | {"compression": compression(configuration.prune_method)}
        row["unbiased_items"] = int(transitions.unbiased_before[number].sum())
        for name, (share, low, high) in (("became_biased", became), ("flipped", flipped)):
            row |= {name: float(share[number])}
            row |= {f"{name}_low": float(low[number]), f"{name}_high": float(high[number])}
        row["flipped_to_stereotyped"] = float(to_stereotyped[number])
        yield row | {"kind": MEASURED, "source": None}


def _share(outcomes: Outcomes, part: NDArray[Any], whole: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Pooled share of each configuration and its clustered interval, from counts (configurations, items)."""
    templates = int(outcomes.template.max()) + 1
    top = cluster_sums(part, outcomes.template, templates)
    bottom = cluster_sums(whole, outcomes.template, templates)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = top.sum(axis=1) / bottom.sum(axis=1)
    low, high = clustered_wilson(top, bottom)
    return share, low, high


def _reported() -> Iterator[dict[str, Value]]:
    for entry in published()["items_changing"]:
        row: dict[str, Value] = {"model": entry["models"], "prune_method": entry["method"]}
        row |= {"pattern": None, "sparsity": entry["sparsity"], "actual_sparsity": None}
        row |= {"answered": None, "too_few_answered": False}
        row |= {"compression": entry["compression"], "unbiased_items": None}
        for name in ("became_biased", "flipped"):
            low, high = entry.get(name, (math.nan, math.nan))
            row |= {name: None, f"{name}_low": low, f"{name}_high": high}
        yield row | {"flipped_to_stereotyped": None, "kind": REPORTED, "source": entry["source"]}
