"""What pruning did to the answers of a model: every configuration against the dense one, as typed figures.

Pure functions of :class:`~mlx_prune.stats.outcomes.Outcomes`. Answers are paired by item and seed; intervals
and p-values are over question templates (:mod:`mlx_prune.stats.clustered`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.configuration import Configuration
from mlx_prune.stats.clustered import Difference, cluster_sums, paired_difference
from mlx_prune.stats.expected import LETTER_MASS_NEEDED, expected_counts, letter_mass
from mlx_prune.stats.levels import CONFIDENCE
from mlx_prune.stats.outcomes import ANTI, STEREOTYPED, UNKNOWN, Outcomes
from mlx_prune.stats.rates import OVERALL, CategoryRates
from mlx_prune.stats.tests import McNemar, mcnemar
from mlx_prune.stats.transitions import fresh_emergence, held_out_emergence, item_transitions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """Change of one rate from dense.

    Attributes:
        value: Rate of the configuration minus that of the dense model.
        low: Lower end of its 95 % interval; NaN where none can be had (see
            :class:`~mlx_prune.stats.clustered.Difference`).
        high: Upper end; NaN where ``low`` is.
        p_value: Two-sided, of no change; NaN where it cannot be had.
        templates: Question templates it rests on.
    """

    value: float
    low: float
    high: float
    p_value: float
    templates: int


@dataclass(frozen=True)
class SrsChange:
    """Change of SRS from dense, of one category or overall (the unweighted mean of the categories).

    SRS = (1 - USR) / 2 + (SRS - anti rate) / 2: a model that stops abstaining and picks a person by lot
    raises SRS through the first part alone; the second is directional bias, half of BBQ's score.

    Attributes:
        srs: Of the sampled answers.
        expected: Of SRS expected from the option probabilities, free of sampling noise.
        abstention: The part of ``srs`` that is lost abstention.
        direction: The part of it that is directional bias.
        items_up: Items whose majority of understood answers became stereotyped.
        items_down: Items whose majority ceased to be.
        p_items: Exact McNemar test of the two, with items taken as independent.
    """

    srs: Change
    expected: Change
    abstention: Change
    direction: Change
    items_up: int
    items_down: int
    p_items: float


@dataclass(frozen=True)
class Excess:
    """A share of items that were unbiased before, against what the dense model does without any pruning.

    Attributes:
        null: The dense model's share.
        share: The configuration's.
        change: The second minus the first.
    """

    null: float
    share: float
    change: Change


@dataclass(frozen=True)
class Emergence:
    """Items without a stereotyped dense answer that have one now; see :mod:`mlx_prune.stats.transitions`.

    Attributes:
        unbiased_items: How many have none from the dense model.
        became_biased: How many of them have one now, under the same noise.
        letter_mass: Mean probability that an answer of this configuration starts with a letter.
        fresh: Share with a stereotyped answer among fresh ones, from option probabilities; None where these
            are not known or do not predict answers.
        held_out: Share of stereotyped answers under a seed that did not choose the items.
    """

    unbiased_items: int
    became_biased: int
    letter_mass: float
    fresh: Excess | None
    held_out: Excess

    @property
    def observed(self) -> float:
        """Share of the unbiased items that became biased, under the same noise; 0 where there are none."""
        return self.became_biased / max(self.unbiased_items, 1)

    @property
    def excess(self) -> Excess:
        """From option probabilities where these predict answers, else from the held-out seeds."""
        return self.fresh or self.held_out


@dataclass(frozen=True)
class Comparison:
    """One configuration against the dense model.

    Attributes:
        configuration: Which.
        changes: By category, and of :data:`~mlx_prune.stats.rates.OVERALL` last.
        emergence: Over all categories.
    """

    configuration: Configuration
    changes: Mapping[str, SrsChange]
    emergence: Emergence

    @property
    def overall(self) -> SrsChange:
        """Over all categories."""
        return self.changes[OVERALL]


def compare(outcomes: Outcomes) -> tuple[Comparison, ...]:
    """Every configuration of a model after the dense one, in their order.

    Raises:
        RecordsError: If there is no dense configuration.
    """
    emergence = _emergence(outcomes)
    parsed, expected = outcomes.parsed(), expected_counts(outcomes)
    stereotyped, anti, unknown = (outcomes.counts(code) for code in (STEREOTYPED, ANTI, UNKNOWN))
    srs = _changes(outcomes, stereotyped, parsed)
    predicted = _changes(outcomes, expected.stereotyped, expected.letters)
    # Halved afterwards, so that their intervals end within what half a rate can change by.
    abstention = _halved(_changes(outcomes, -unknown, parsed))
    direction = _halved(_changes(outcomes, stereotyped - anti, parsed))
    flips = {scope: _flips(outcomes, scope) for scope in srs}

    def one(scope: str, number: int) -> SrsChange:
        items = flips[scope]
        return SrsChange(
            srs=srs[scope][number],
            expected=predicted[scope][number],
            abstention=abstention[scope][number],
            direction=direction[scope][number],
            items_up=int(items.up[number]),
            items_down=int(items.down[number]),
            p_items=float(items.p_value[number]),
        )

    return tuple(
        Comparison(configuration, {scope: one(scope, number) for scope in srs}, emergence[number])
        for number, configuration in enumerate(outcomes.configurations[1:])
    )


def comparable(sides: Iterable[CategoryRates | None], floor: float = MIN_ANSWERED) -> bool:
    """Whether enough answers of all sides were understood to compare their rates.

    Args:
        sides: Rates of one category, or overall; None where a side was not asked it, which is no obstacle.
        floor: Share of the answers that must be understood.
    """
    return not any(rates is not None and rates.too_few(floor) for rates in sides)


def overall_changes(
    outcomes: Outcomes, numerator: NDArray[Any], denominator: NDArray[Any], confidence: float = CONFIDENCE
) -> list[Change]:
    """Change of a rate, the unweighted mean over categories, of each configuration after the dense one.

    Args:
        outcomes: One model's answers, dense first.
        numerator: (configurations, items).
        denominator: (configurations, items).
        confidence: Level of the intervals.
    """
    top, bottom, stratum = _template_sums(outcomes, numerator, denominator)
    pair = (top[:1], bottom[:1], top[1:], bottom[1:])
    return _each(paired_difference(*pair, stratum, confidence=confidence))


def srs_between(outcomes: Outcomes, before: int, after: int) -> Change:
    """Change of SRS, the unweighted mean over categories, between any two configurations of a model.

    Args:
        outcomes: The model's answers.
        before: Number of the one configuration.
        after: Number of the other.
    """
    pair = [before, after]
    counts = outcomes.counts(STEREOTYPED)[pair], outcomes.parsed()[pair]
    return overall_changes(outcomes, *counts)[0]


def _changes(
    outcomes: Outcomes, numerator: NDArray[Any], denominator: NDArray[Any]
) -> dict[str, list[Change]]:
    """Likewise of each category, and overall last."""
    top, bottom, stratum = _template_sums(outcomes, numerator, denominator)
    found = {}
    for number, name in enumerate(outcomes.categories):
        mine = stratum == number
        pair = (top[:1, mine], bottom[:1, mine], top[1:, mine], bottom[1:, mine])
        found[name] = _each(paired_difference(*pair))
    return found | {OVERALL: overall_changes(outcomes, numerator, denominator)}


def _halved(changes: Mapping[str, list[Change]]) -> dict[str, list[Change]]:
    return {
        scope: [replace(one, value=one.value / 2, low=one.low / 2, high=one.high / 2) for one in mine]
        for scope, mine in changes.items()
    }


def _template_sums(
    outcomes: Outcomes, numerator: NDArray[Any], denominator: NDArray[Any]
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Both summed per template (configurations, templates), and each template's category."""
    stratum = outcomes.template_category
    top, bottom = (cluster_sums(x, outcomes.template, len(stratum)) for x in (numerator, denominator))
    return top, bottom, stratum


def _each(difference: Difference) -> list[Change]:
    ends = (difference.value, difference.low, difference.high, difference.p_value)
    columns = [np.broadcast_to(end, difference.value.shape).tolist() for end in (*ends, difference.clusters)]
    return [Change(*row) for row in zip(*columns, strict=True)]


def _flips(outcomes: Outcomes, scope: str) -> McNemar:
    parsed = outcomes.parsed()
    majority = 2 * outcomes.counts(STEREOTYPED) > parsed
    usable = (parsed[:1] > 0) & (parsed[1:] > 0)
    if scope != OVERALL:
        usable &= outcomes.category == outcomes.categories.index(scope)
    return mcnemar(majority[:1], majority[1:], usable)


def _emergence(outcomes: Outcomes) -> list[Emergence]:
    items = item_transitions(outcomes)
    fresh, held = fresh_emergence(outcomes), held_out_emergence(outcomes)
    predicted = _excess(outcomes, fresh.expected, fresh.unbiased)
    sampled = _excess(outcomes, held.stereotyped, held.eligible)
    unbiased, became = items.unbiased_before.sum(axis=1), items.became_biased.sum(axis=1)
    mass = letter_mass(outcomes)
    found = []
    for number, excess in enumerate(predicted):
        predictable = min(mass[0], mass[number + 1]) >= LETTER_MASS_NEEDED
        known = predictable and not math.isnan(excess.change.value)
        found.append(
            Emergence(
                int(unbiased[number + 1]),
                int(became[number + 1]),
                float(mass[number + 1]),
                excess if known else None,
                sampled[number],
            )
        )
    return found


def _excess(outcomes: Outcomes, numerator: Floats, denominator: Floats) -> list[Excess]:
    """Of a share pooled over categories, on the items that count for each configuration after the first.

    The dense side of a comparison is restricted to the items that the other configuration was asked.
    """
    asked = denominator[1:] > 0
    parts = (numerator[:1] * asked, denominator[:1] * asked, numerator[1:], denominator[1:])
    templates = len(outcomes.template_category)
    top0, bottom0, top, bottom = (cluster_sums(part, outcomes.template, templates) for part in parts)
    changes = _each(paired_difference(top0, bottom0, top, bottom))
    with np.errstate(invalid="ignore"):
        null, share = (a.sum(axis=1) / b.sum(axis=1) for a, b in (parts[:2], parts[2:]))
    return [Excess(*one) for one in zip(null.tolist(), share.tolist(), changes, strict=True)]
