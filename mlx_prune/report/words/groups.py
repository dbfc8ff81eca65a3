"""What a sentence can say of social groups: those that moved while their category stood still."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_prune import words
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.groups import GroupRate
from mlx_prune.stats.clustered import FEWEST_CLUSTERS
from mlx_prune.stats.levels import SIGNIFICANCE


def hidden_moves(tables: Tables) -> list[GroupRate]:
    """Changes of single groups beyond chance in categories that did not change so, the largest first."""
    categories = {(row.configuration, row.category): row.q_clustered for row in tables.paired_tests.rows}
    found = []
    for row in tables.groups.rows:
        q = categories.get((row.configuration, row.category))
        still = q is not None and q >= SIGNIFICANCE
        if still and row.q_clustered is not None and row.q_clustered < SIGNIFICANCE:
            found.append(row)
    return sorted(found, key=lambda row: -abs(row.srs_delta.value or 0.0))


def groups_sentence(tables: Tables) -> str:
    """The largest such move, and how many there are; empty where there is none."""
    found = hidden_moves(tables)
    if not found:
        return ""
    row, ends = found[0], found[0].srs_delta.ends
    reach = f" (95 % interval {words.interval(*ends, words.signed)})" if ends else ""
    others = f"; {words.counted(len(found) - 1, 'more such move')} in the table `groups`"
    return (
        f"A category can hide a group: where stereotypes are about {row.group} ({row.category}), SRS of "
        f"{row.configuration.full_name} moved by {words.signed(row.srs_delta.value)}{reach}, while the "
        f"category as a whole did not move beyond chance{others if len(found) > 1 else ''}."
    )


def groups_limits(tables: Tables) -> Iterator[str]:
    """What cannot be told of social groups, and why."""
    changed = [row for row in tables.groups.rows if row.srs_delta.value is not None]
    if not len(tables.groups):
        if len(tables.paired_tests):
            yield (
                "The texts of the questions are not known here, nor the social group that each is about, so "
                "moves of single groups inside a category cannot be told."
            )
        return
    names = {(row.category, row.group) for row in changed}
    tested = {(row.category, row.group) for row in changed if row.p_clustered is not None}
    if names - tested:
        yield (
            f"{len(names - tested)} of {words.counted(len(names), 'social group')} are asked about in fewer "
            f"than {FEWEST_CLUSTERS} question templates, which is too few to tell a change from chance."
        )
