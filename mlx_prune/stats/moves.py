"""How far the option probabilities of single questions moved from dense, and which way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_prune.stats.outcomes import Outcomes

MOVED = 0.1
"""Probability that has to move for a question to be counted, or shown, as one that did."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moves:
    """Moves of all questions from the dense configuration, (configurations, items); NaN where not recorded.

    Attributes:
        distance: Total variation of the first token's probabilities, from 0 to 1: of the stereotyped, the
            other and the unknown option's letter, and of all else together.
        lean: Change of the stereotyped option's probability minus that of the other person's, from -2 to 2;
            its mean is the change of BBQ's own score that is to be expected.
    """

    distance: Floats
    lean: Floats

    def most_moved(
        self, number: int, items: NDArray[np.bool_], template: NDArray[np.intp], most: int, *, up: bool
    ) -> list[int]:
        """Places of the questions that moved most in one direction, at most one of a question template.

        Those that moved by less than :data:`MOVED` are none of them.

        Args:
            number: Of the configuration.
            items: Which to choose among (items,).
            template: Question template of each item (items,).
            most: How many at most.
            up: Those that lean more to the stereotype, or those that lean less.
        """
        lean, distance = self.lean[number], self.distance[number]
        places = np.flatnonzero(items & (distance >= MOVED) & ((lean > 0) if up else (lean < 0)))
        # Ties go by place.
        ordered = places[np.argsort(-distance[places], kind="stable")]
        _, first = np.unique(template[ordered], return_index=True)
        return [int(place) for place in ordered[np.sort(first)][:most]]


def moves(outcomes: Outcomes) -> Moves:
    """Moves of every configuration from the first, which is the dense one."""
    p = outcomes.probabilities.astype(float)
    whole = np.concatenate([p, 1 - p.sum(axis=-1, keepdims=True)], axis=-1)
    change = whole - whole[:1]
    return Moves(np.abs(change).sum(axis=-1) / 2, change[..., 0] - change[..., 1])
