"""Which of several configurations is nothing worse than another in any respect, and worse in one.

Every criterion is a cost with an interval: smaller is better, and two costs whose intervals overlap are a
tie. One configuration dominates another if no criterion shows it worse and at least one shows it better.
Whoever wants fewer ties needs narrower intervals, that is more questions, text or rounds.

Overlap is not transitive (A may tie with B, and B with C, while A beats C), so with wide intervals three
configurations can each dominate the next in a ring. Such a ring decides nothing: inside it none dominates
another. What is left has no rings, so at least one configuration is always undominated.

A criterion that was measured for none is left out. A configuration that lacks a criterion others have can
neither dominate nor be dominated, since how it does there is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.bool_]


@dataclass(frozen=True)
class Cost:
    """One criterion of one configuration.

    Attributes:
        low: Lower end of its interval; smaller is better.
        high: Upper end, the same as ``low`` for what is known exactly. Both may be infinite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise ValueError(f"{self.low} to {self.high} is no interval")


@dataclass(frozen=True)
class Dominance:
    """What :func:`dominance` found about one configuration.

    Attributes:
        judged: Whether every criterion in use was measured.
        by: Positions of those that dominate it, themselves undominated first, then in the order given.
    """

    judged: bool
    by: tuple[int, ...] = ()

    @property
    def undominated(self) -> bool:
        """Whether it was judged and nothing dominates it."""
        return self.judged and not self.by


def criteria_in_use(costs: Sequence[Sequence[Cost | None]]) -> tuple[bool, ...]:
    """Whether each criterion was measured for any configuration."""
    return tuple(any(cost is not None for cost in column) for column in zip(*costs, strict=True))


def dominance(costs: Sequence[Sequence[Cost | None]]) -> list[Dominance]:
    """Compare every configuration with every other.

    Args:
        costs: Per configuration, its criteria in one order; None for what was not measured.

    Returns:
        One entry per configuration. Nothing is judged where no criterion was measured at all.
    """
    used = [number for number, known in enumerate(criteria_in_use(costs)) if known]
    judged = [bool(used) and all(row[number] is not None for number in used) for row in costs]
    chosen = [number for number, complete in enumerate(judged) if complete]
    low = _ends(costs, chosen, used, "low")
    high = _ends(costs, chosen, used, "high")
    # better[i, j]: some criterion shows the i-th to be better than the j-th.
    better = np.asarray((high[:, None, :] < low[None, :, :]).any(axis=-1))
    relation: Matrix = np.asarray(better & ~better.T)
    relation &= ~_in_a_ring(relation)
    first = ~np.asarray(relation.any(axis=0))
    found = [Dominance(complete) for complete in judged]
    for place, number in enumerate(chosen):
        above = np.flatnonzero(relation[:, place])
        above = above[np.argsort(~first[above], kind="stable")]
        found[number] = Dominance(True, tuple(chosen[one] for one in above))
    return found


def _ends(
    costs: Sequence[Sequence[Cost | None]], chosen: list[int], used: list[int], end: str
) -> NDArray[np.float64]:
    """One end of all intervals (configurations, criteria)."""
    rows = [[getattr(costs[number][one], end) for one in used] for number in chosen]
    return np.array(rows, float).reshape(len(chosen), len(used))


def _in_a_ring(relation: Matrix) -> Matrix:
    """Pairs that reach each other through the relation."""
    reach = relation.copy()
    for middle in range(len(reach)):
        np.logical_or(reach, np.outer(reach[:, middle], reach[middle]), out=reach)
    return np.asarray(reach & reach.T)
