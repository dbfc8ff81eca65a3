"""SRS by the social group that a question's stereotype is about, and its change from dense.

A category's rate is a mean over its groups: a large move of one of them can vanish in it, or cancel the move
of another. Clusters are the question templates, as everywhere; few templates give no interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_prune.stats.clustered import cluster_sums, clustered_wilson
from mlx_prune.stats.compare import Change, overall_changes
from mlx_prune.stats.outcomes import ABSENT, STEREOTYPED, UNPARSED, Outcomes

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroupOutcomes:
    """Answers to the questions about one social group, of every configuration of a model.

    Attributes:
        category: Its category.
        group: Its name.
        items: Questions answered (configurations,).
        parsed: Answers with a letter (configurations,).
        answered: Share of the answers that were understood, by one of the first three rules; NaN where there
            are none (configurations,).
        srs: Share of the parsed ones that fit the stereotype; NaN where there are none (configurations,).
        low: Lower end of its interval over templates (configurations,).
        high: Upper end.
        changes: Of every configuration after the dense one; empty without that.
    """

    category: str
    group: str
    items: NDArray[np.intp]
    parsed: NDArray[np.intp]
    answered: Floats
    srs: Floats
    low: Floats
    high: Floats
    changes: tuple[Change, ...]


def by_group(outcomes: Outcomes, groups: Mapping[str, str]) -> Iterator[GroupOutcomes]:
    """Rates of each social group, category by category.

    Args:
        outcomes: One model's answers.
        groups: Group of each item by item id; items without one, or with an empty name, are left out.
    """
    names = np.array([groups.get(item, "") for item in outcomes.item_ids.tolist()])
    for number, category in enumerate(outcomes.categories):
        mine = outcomes.category == number
        for group in sorted(set(names[mine].tolist()) - {""}):
            yield _one(outcomes.select(mine & (names == group)), category, group)


def _one(outcomes: Outcomes, category: str, group: str) -> GroupOutcomes:
    templates = int(outcomes.template.max()) + 1
    hits, parsed = outcomes.counts(STEREOTYPED), outcomes.parsed()
    top, bottom = (cluster_sums(x, outcomes.template, templates) for x in (hits, parsed))
    low, high = clustered_wilson(top, bottom)
    asked = outcomes.codes != ABSENT
    understood = (outcomes.codes > UNPARSED) & ~outcomes.guessed
    with np.errstate(invalid="ignore"):
        answered = understood.sum(axis=(1, 2)) / asked.sum(axis=(1, 2))
        srs = hits.sum(axis=1) / parsed.sum(axis=1)
    changes = () if outcomes.dense is None else tuple(overall_changes(outcomes, hits, parsed))
    items = asked.any(axis=2).sum(axis=1)
    return GroupOutcomes(category, group, items, parsed.sum(axis=1), answered, srs, low, high, changes)
