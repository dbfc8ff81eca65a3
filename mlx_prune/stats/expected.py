"""What option probabilities tell: SRS and USR to be expected, and whether the sampled ones agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlx_prune.stats.outcomes import STEREOTYPED, UNKNOWN, Outcomes

Floats = NDArray[np.float64]


LETTER_MASS_NEEDED = 0.9
"""Below this mean probability that an answer starts with a letter, option probabilities do not predict
answers."""


class ExpectedCounts(NamedTuple):
    """Per item (configurations, items): expected answers over the seeds asked, zero where not recorded.

    Attributes:
        letters: Answers that start with a letter.
        stereotyped: Answers that start with the stereotyped option's letter.
        unknown: Answers that start with the unknown option's letter.
    """

    letters: Floats
    stereotyped: Floats
    unknown: Floats


class Agreement(NamedTuple):
    """Sampled against expected rate of one outcome, pooled over items (configurations,).

    Attributes:
        sampled: Rate among the understood answers of the items whose probabilities are known.
        expected: Rate among the letters, from probabilities.
        error: Standard error of the sampling alone, taking noise as independent between answers.
    """

    sampled: Floats
    expected: Floats
    error: Floats

    @property
    def z(self) -> Floats:
        """Difference in standard errors; beyond +-3, answers are decided by more than their first letter."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.sampled - self.expected) / self.error


def expected_counts(outcomes: Outcomes) -> ExpectedCounts:
    """Expected number of answers per item that open with each option's letter."""
    asked = (outcomes.codes > 0).sum(axis=-1)
    probabilities = outcomes.probabilities.astype(float)
    known = ~np.isnan(probabilities).any(axis=-1)
    weighted = np.where(known[..., None], probabilities, 0.0) * asked[..., None]
    return ExpectedCounts(weighted.sum(axis=-1), weighted[..., 0], weighted[..., 2])


def agreement(outcomes: Outcomes, outcome: int = STEREOTYPED) -> Agreement:
    """Compare the sampled rate of an outcome with the expected one.

    Args:
        outcomes: One model's answers.
        outcome: ``STEREOTYPED`` or ``UNKNOWN``.
    """
    role = {STEREOTYPED: 0, UNKNOWN: 2}[outcome]
    probabilities = outcomes.probabilities.astype(float)
    mass = probabilities.sum(axis=-1)
    parsed = np.where(mass > 0, outcomes.parsed(), 0)
    hits = np.where(mass > 0, outcomes.counts(outcome), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(mass > 0, probabilities[..., role] / mass, 0.0)
        answers = parsed.sum(axis=-1)
        # Conditional on which answers were understood, so that abstaining by gibberish is not counted twice.
        expected = (parsed * share).sum(axis=-1) / answers
        error = np.sqrt((parsed * share * (1 - share)).sum(axis=-1)) / answers
        sampled = hits.sum(axis=-1) / answers
    return Agreement(sampled, expected, error)


def mean_agreement(parts: Sequence[Agreement]) -> Agreement:
    """The unweighted mean over categories, leaving out those without answers."""
    stacked = np.array([(part.sampled, part.expected, part.error) for part in parts])
    known = ~np.isnan(stacked[:, 0])
    count = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sampled, expected = (np.where(known, stacked[:, i], 0.0).sum(axis=0) / count for i in (0, 1))
        error = np.sqrt(np.where(known, stacked[:, 2] ** 2, 0.0).sum(axis=0)) / count
    return Agreement(sampled, expected, error)


def letter_mass(outcomes: Outcomes) -> Floats:
    """Mean probability that an answer starts with a letter (configurations,); NaN where not recorded."""
    mass = outcomes.probabilities.sum(axis=-1, dtype=float)
    known = ~np.isnan(mass)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, mass, 0.0).sum(axis=-1) / known.sum(axis=-1))
