"""The table of social groups: a category's rate can hide the move of one of them."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import ByCategory, Rated, adjusted, configured
from mlx_prune.report.tables.table import About, Interval, column
from mlx_prune.stats.groups import GroupOutcomes, by_group
from mlx_prune.stats.outcomes import Outcomes


@dataclass(frozen=True, kw_only=True)
class GroupRate(Rated, ByCategory):
    """SRS of the questions about one social group, and its change from dense."""

    about = About(
        "groups",
        "Stereotype reliance by social group",
        "The group is that of the person whom the question's stereotype is about, as BBQ tags it. srs_delta: "
        "change from dense, paired by item, with a 95 % interval over question templates; groups with fewer "
        "than 6 templates have none, and no test. q is adjusted after Benjamini and Hochberg over all groups "
        "of all models and configurations.",
    )

    group: str = column("social group that the stereotype is about")
    n_items: int = column("questions in ambiguous contexts with a stereotyped option about it")
    n_valid: int
    srs: float | None
    srs_clustered_low: float | None = column(
        "lower end of srs's 95 % interval, answers to one template kept together"
    )
    srs_clustered_high: float | None = column("upper end of this interval")
    srs_baseline: float | None
    srs_delta: Interval
    clusters: int | None = column("question templates that the comparison rests on")
    p_clustered: float | None = column("of no change, with answers to one template kept together")
    q_clustered: float | None = None

    @classmethod
    def of_study(cls, data: StudyData) -> list[GroupRate]:
        """Every configuration and group of which the questions are known."""
        rows = []
        for outcomes in data.models.values():
            groups = list(by_group(outcomes, data.groups))
            for number in range(len(outcomes.configurations)):
                rows += [_row(data, outcomes, number, group) for group in groups if group.items[number]]
        return adjusted(rows, "p_clustered", "q_clustered")


def _row(data: StudyData, outcomes: Outcomes, number: int, found: GroupOutcomes) -> GroupRate:
    few = found.answered < data.min_answered
    dense = outcomes.dense
    change = None
    if dense is not None and number != dense and not few[number] and not few[dense]:
        change = found.changes[number - 1]
    return GroupRate(
        **configured(data, outcomes.configurations[number]),
        category=found.category,
        answered=found.answered[number],
        too_few_answered=few[number],
        group=found.group,
        n_items=found.items[number],
        n_valid=found.parsed[number],
        srs=found.srs[number],
        srs_clustered_low=found.low[number],
        srs_clustered_high=found.high[number],
        srs_baseline=None if change is None or dense is None else found.srs[dense],
        srs_delta=Interval() if change is None else Interval.of(change),
        clusters=None if change is None else change.templates,
        p_clustered=None if change is None else change.p_value,
    )
