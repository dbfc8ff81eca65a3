"""Configurations against the dense model, as typed figures, against loops over plain records."""

import math

import numpy as np
import pytest
from random_study import LETTERS, random_records, run_outcomes, usable

from mlx_prune.errors import RecordsError
from mlx_prune.stats.compare import comparable, compare, overall_changes
from mlx_prune.stats.outcomes import STEREOTYPED, UNKNOWN, assemble
from mlx_prune.stats.rates import OVERALL


@pytest.fixture(scope="module")
def rows():
    return usable(random_records(3, items=90))


@pytest.fixture(scope="module")
def outcomes(rows):
    return assemble(run_outcomes(rows))


def rate(rows, configuration, category, role):
    mine = [
        r
        for r in rows
        if (r["prune_method"], r["sparsity"], r["pattern"]) == configuration
        and r["category"] == category
        and r["parsed_answer"] is not None
    ]
    return np.mean([LETTERS.index(r["parsed_answer"]) == r[f"{role}_index"] for r in mine])


def test_changes_are_those_of_the_plain_rates(rows, outcomes):
    dense = ("dense", 0.0, None)
    found = compare(outcomes)
    assert [one.configuration for one in found] == list(outcomes.configurations[1:])
    for one in found:
        name = (one.configuration.prune_method, one.configuration.sparsity, one.configuration.pattern)
        assert list(one.changes) == [*outcomes.categories, OVERALL]
        for category in outcomes.categories:
            srs, usr = (
                rate(rows, name, category, role) - rate(rows, dense, category, role)
                for role in ("stereotype_target", "unknown")
            )
            change = one.changes[category]
            assert change.srs.value == pytest.approx(srs)
            assert change.abstention.value == pytest.approx(-usr / 2)
            assert change.abstention.value + change.direction.value == pytest.approx(srs)
            assert not change.srs.low > srs
            assert not change.srs.high < srs
        mean = np.mean([one.changes[category].srs.value for category in outcomes.categories])
        assert one.overall.srs.value == pytest.approx(mean)


def test_intervals_of_the_parts_end_where_the_parts_do():
    found = compare(assemble(run_outcomes(usable(random_records(2, items=18)))))
    changes = [change for one in found for change in one.changes.values()]
    for part, most in (("abstention", 0.5), ("direction", 1.0)):
        ends = [(getattr(change, part).low, getattr(change, part).high) for change in changes]
        assert np.nanmax(np.abs(ends)) == most


def test_emergence_is_told_from_letters_only_where_they_predict_answers(outcomes):
    for one in compare(outcomes):
        emergence = one.emergence
        assert emergence.observed == emergence.became_biased / emergence.unbiased_items
        for excess in (emergence.fresh, emergence.held_out):
            assert excess.share - excess.null == pytest.approx(excess.change.value)
        assert emergence.excess is emergence.fresh
    outcomes.probabilities[1] *= 0.5
    masked = compare(outcomes)
    outcomes.probabilities[1] *= 2
    assert masked[0].emergence.fresh is None
    assert masked[0].emergence.excess is masked[0].emergence.held_out
    assert masked[1].emergence.fresh is not None


def test_a_higher_level_widens_intervals_and_moves_nothing_else(outcomes):
    counts, answers = outcomes.counts(STEREOTYPED, UNKNOWN), outcomes.parsed()
    for narrow, wide in zip(
        overall_changes(outcomes, counts, answers),
        overall_changes(outcomes, counts, answers, 0.999),
        strict=True,
    ):
        assert (narrow.value, narrow.p_value, narrow.templates) == (wide.value, wide.p_value, wide.templates)
        if not math.isnan(narrow.low):
            assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_without_a_dense_model_nothing_is_compared(rows):
    with pytest.raises(RecordsError, match="dense"):
        compare(assemble(run_outcomes(rows)[1:]))


def test_a_side_that_was_not_asked_is_no_obstacle():
    assert comparable((None, None))
