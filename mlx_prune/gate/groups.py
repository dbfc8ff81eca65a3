"""Rises of SRS by social group, for a limit that none of them may break."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlx_prune import words
from mlx_prune.gate.limits import Estimate
from mlx_prune.stats.clustered import FEWEST_CLUSTERS
from mlx_prune.stats.compare import Change
from mlx_prune.stats.groups import by_group
from mlx_prune.stats.outcomes import Outcomes

MEASURE = "group_srs_rise"
Worsening = Callable[[Change, int], tuple[float, float, float]]


def group_estimates(
    outcomes: Outcomes, groups: Mapping[str, str], floor: float, worsening: Worsening
) -> tuple[list[Estimate], tuple[str, ...]]:
    """The rise of every social group that can be told, and a sentence on those that cannot.

    Templates are not made more by asking more questions, so a group with too few of them would stay undecided
    for good.

    Args:
        outcomes: The dense model and the candidate.
        groups: Group of each item by item id.
        floor: Share of the answers that must be understood, of both.
        worsening: From a change of rates of so many items to its value and the ends of its interval.
    """
    found, few = [], []
    for one in by_group(outcomes, groups):
        name, (change,) = f"{one.category}: {one.group}", one.changes
        if min(one.answered) < floor:
            continue
        if change.templates < FEWEST_CLUSTERS:
            few.append(name)
            continue
        items = int(one.items[1])
        found.append(Estimate(MEASURE, name, *worsening(change, items), items))
    if not few:
        return found, ()
    return found, (
        f"{words.counted(len(few), 'social group')} cannot be judged, having fewer than {FEWEST_CLUSTERS} "
        f"question templates: {words.names(few, most=6)}.",
    )
