"""How much emergence there is with no pruning at all.

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

from mlx_prune.stats.outcomes import STEREOTYPED, UNKNOWN, Outcomes
from mlx_prune.stats.transitions import item_transitions, require_dense

Floats = NDArray[np.float64]

LETTER_MASS_NEEDED = 0.9
"""Below this mean probability that an answer starts with a letter, option probabilities do not predict
answers."""


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


def letter_mass(outcomes: Outcomes) -> Floats:
    """Mean probability that an answer starts with a letter (configurations,); NaN where not recorded."""
    mass = outcomes.probabilities.sum(axis=-1, dtype=float)
    known = ~np.isnan(mass)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, mass, 0.0).sum(axis=-1) / known.sum(axis=-1))
