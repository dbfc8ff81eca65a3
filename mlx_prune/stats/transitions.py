"""From dense to pruned, answer by answer and item by item, and how much emergence there is without pruning.

An item whose five dense answers avoid the stereotyped option need not avoid it in the next five. The share of
such items that five fresh dense answers would make "biased" is the null that emergence after pruning has to
exceed. Two estimates of it:

- from the option probabilities: an item that takes the stereotyped option at rate q takes it at least once
  in n answers with probability ``1 - (1 - q) ** n``;
- from the answers alone, holding one seed out at a time: of the items not answered with the stereotype
  under the other seeds, the share that are under this one. It counts single answers, so "at least once"
  cannot inflate it.

Dense and pruned answers share their noise at each item and seed. Emergence as observed therefore starts at
zero when nothing is pruned, while both estimates here ask about fresh draws, before and after pruning
alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlx_prune.errors import RecordsError
from mlx_prune.stats.outcomes import ABSENT, OUTCOMES, STEREOTYPED, UNKNOWN, Outcomes

Counts = NDArray[np.intp]
Floats = NDArray[np.float64]


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
    it: answers that are stereotyped at rate p make an item biased at rate ``1 - (1 - p) ** 5``.

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


class FreshEmergence(NamedTuple):
    """Per item (configurations, items): zero outside the items that were unbiased before.

    Attributes:
        unbiased: 1 for the items unbiased in the dense model whose probabilities are known, else 0.
        expected: Probability that fresh answers of this configuration hold a stereotyped one; the dense row
            is the null.
    """

    unbiased: Floats
    expected: Floats


class HeldOutEmergence(NamedTuple):
    """Per item (configurations, items), summed over the seed that is held out.

    Attributes:
        eligible: Answers that were understood, of items unbiased under all other seeds.
        stereotyped: Those that are stereotyped; the dense row is the null.
    """

    eligible: Floats
    stereotyped: Floats


def fresh_emergence(outcomes: Outcomes) -> FreshEmergence:
    """Emergence that fresh answers would show, from the option probabilities.

    The number of fresh answers of an item is the number of its answers that were understood.

    Raises:
        RecordsError: If there is no dense configuration.
    """
    unbiased = item_transitions(outcomes).unbiased_before
    probabilities = outcomes.probabilities.astype(float)
    mass = probabilities.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.clip(probabilities[..., 0] / mass, 0.0, 1.0)
        at_least_once = -np.expm1(outcomes.parsed() * np.log1p(-rate))
    # No fresh answer at all is no stereotyped one, even where 0 * log(0) is not a number.
    at_least_once = np.where(outcomes.parsed() == 0, 0.0, at_least_once)
    known = unbiased & (mass > 0)
    return FreshEmergence(known.astype(float), np.where(known, at_least_once, 0.0))


def held_out_emergence(outcomes: Outcomes) -> HeldOutEmergence:
    """Emergence in single answers under a seed that did not choose the items; zero with fewer than two seeds.

    Raises:
        RecordsError: If there is no dense configuration.
    """
    dense = outcomes.codes[require_dense(outcomes)]
    stereotyped, parsed = dense == STEREOTYPED, dense >= UNKNOWN
    others_stereotyped = stereotyped.sum(axis=-1, keepdims=True) - stereotyped
    others_parsed = parsed.sum(axis=-1, keepdims=True) - parsed
    unbiased = (others_parsed > 0) & (others_stereotyped == 0)
    eligible = unbiased & (outcomes.codes >= UNKNOWN)
    hits = eligible & (outcomes.codes == STEREOTYPED)
    return HeldOutEmergence(eligible.sum(axis=-1).astype(float), hits.sum(axis=-1).astype(float))
