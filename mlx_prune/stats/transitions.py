"""From dense to pruned, answer by answer and item by item."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlx_prune.errors import RecordsError
from mlx_prune.stats.outcomes import ABSENT, OUTCOMES, STEREOTYPED, UNKNOWN, Outcomes

Counts = NDArray[np.intp]


class ItemTransitions(NamedTuple):
    """Which items changed sides, per item (configurations, items); the study's definitions.

    An item is unbiased if it was understood at least once and never answered with the stereotyped option, and
    biased if it was so answered at least once. The dense configuration's own row is all zeros in
    ``became_*``.
    """

    unbiased_before: NDArray[np.bool_]
    became_biased: NDArray[np.bool_]
    biased_before: NDArray[np.bool_]
    became_unbiased: NDArray[np.bool_]


def require_dense(outcomes: Outcomes) -> int:
    """Position of the dense configuration.

    Raises:
        RecordsError: If the dense model was not evaluated.
    """
    if outcomes.dense is None:
        model = outcomes.configurations[0].model
        raise RecordsError(f"there are no records of the dense {model}; evaluate it to compare with it.")
    return outcomes.dense


def item_transitions(outcomes: Outcomes) -> ItemTransitions:
    """Compare every configuration with the dense one, item by item.

    Emergence is the share of the items unbiased before that became biased. "At least one of five" inflates
    it: answers that are stereotyped at rate p make an item biased at rate ``1 - (1 - p) ** 5``; see
    :mod:`mlx_prune.stats.emergence` for what that does with no pruning at all.

    Items that a configuration was not asked do not count for it. One that it never answered intelligibly
    counts as not biased, as in the study.

    Raises:
        RecordsError: If there is no dense configuration.
    """
    dense = require_dense(outcomes)
    stereotyped, parsed = outcomes.counts(STEREOTYPED), outcomes.parsed()
    asked = (outcomes.codes != ABSENT).any(axis=-1)
    before = asked & (parsed[dense] > 0)
    unbiased = before & (stereotyped[dense] == 0)
    biased = before & (stereotyped[dense] > 0)
    return ItemTransitions(
        unbiased_before=unbiased,
        became_biased=unbiased & (stereotyped > 0),
        biased_before=biased,
        became_unbiased=biased & (parsed > 0) & (stereotyped == 0),
    )


class AnswerFlips(NamedTuple):
    """Answers that changed between stereotyped and not, per item (configurations, items).

    Attributes:
        answers: Pairs of a dense and a later answer under the same seed, both understood.
        to_stereotyped: Those stereotyped after only.
        from_stereotyped: Those stereotyped before only.
    """

    answers: Counts
    to_stereotyped: Counts
    from_stereotyped: Counts


def answer_flips(outcomes: Outcomes) -> AnswerFlips:
    """Compare every configuration with the dense one, answer by answer.

    Raises:
        RecordsError: If there is no dense configuration.
    """
    before, after = outcomes.codes[require_dense(outcomes)], outcomes.codes
    pairs = (before >= UNKNOWN) & (after >= UNKNOWN)
    to_stereotyped = pairs & (before != STEREOTYPED) & (after == STEREOTYPED)
    from_stereotyped = pairs & (before == STEREOTYPED) & (after != STEREOTYPED)
    return AnswerFlips(*(part.sum(axis=-1) for part in (pairs, to_stereotyped, from_stereotyped)))


def answer_transitions(outcomes: Outcomes) -> Counts:
    """Count answers by outcome before and after, paired by item and seed.

    Returns:
        (configurations, 5, 5) counts, indexed by the dense outcome code, then the configuration's; row and
        column ``ABSENT`` count records that lack their partner.

    Raises:
        RecordsError: If there is no dense configuration.
    """
    kinds = len(OUTCOMES)
    before = outcomes.codes[require_dense(outcomes)].astype(np.intp).ravel() * kinds
    counts = [
        np.bincount(before + codes.ravel(), minlength=kinds * kinds).reshape(kinds, kinds)
        for codes in outcomes.codes
    ]
    return np.array(counts)
