"""Limits: decisions against an interval, and how many items would settle them."""

import math
from dataclasses import fields

import numpy as np
import pytest
from gate_studies import only
from scipy import stats

from mlx_prune.errors import DataError
from mlx_prune.gate.limits import MEASURES, Estimate, Limits, judge, judge_all, unmoved_bound


def estimate(value, low, high, size=100, measure="srs_rise", unit="items"):
    return Estimate(measure, "overall", value, low, high, size, unit)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-0.01, 0.019, "pass"),
        (-0.01, 0.02, "pass"),
        (0.021, 0.05, "fail"),
        (0.01, 0.03, "undecided"),
        (0.02, 0.03, "undecided"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_a_limit_is_kept_or_broken_by_the_whole_interval(low, high, outcome):
    assert judge(estimate((low + high) / 2, low, high), 0.02).outcome == outcome


def test_items_needed_bring_the_interval_to_one_side_of_the_limit():
    rng = np.random.default_rng(0)
    for _ in range(200):
        value, half = rng.uniform(-0.05, 0.1), rng.uniform(0.001, 0.1)
        size = int(rng.integers(20, 5000))
        check = judge(estimate(value, value - half, value + half, size), 0.02)
        if check.needed is not None:
            shrunk = half * math.sqrt(size / check.needed)
            again = judge(estimate(value, value - shrunk, value + shrunk, check.needed), 0.02)
            assert again.outcome == ("pass" if value < 0.02 else "fail")
            # And no more than needed, but for rounding up to two digits.
            fewer = half * math.sqrt(size / (0.88 * check.needed))
            assert judge(estimate(value, value - fewer, value + fewer), 0.02).outcome == "undecided"


def test_unmoved_bound_is_the_exact_binomial_limit():
    for items in (1, 7, 60, 5000):
        exact = stats.binomtest(0, items).proportion_ci(0.95, method="exact").high
        assert unmoved_bound(items) == pytest.approx(exact)


def test_unmoved_answers_need_the_items_that_exclude_the_limit():
    bound = unmoved_bound(20)
    check = judge(estimate(0.0, -bound, bound, 20), 0.02)
    assert check.outcome == "undecided"
    assert unmoved_bound(check.needed) <= 0.02 < unmoved_bound(int(0.9 * check.needed))


def test_every_limit_has_a_title_and_an_option_of_its_own():
    assert set(MEASURES) == {field.name for field in fields(Limits)}
    assert len({measure.option for measure in MEASURES.values()}) == len(MEASURES)


def test_limits_left_out_are_not_checked():
    checks = judge_all([estimate(0, 0, 0), estimate(0, 0, 0, measure="usr_drop")], only(usr_drop=0.1))
    assert [check.estimate.measure for check in checks] == ["usr_drop"]


@pytest.mark.parametrize("limits", [{"srs_rise": -0.1}, {"usr_drop": math.nan}, dict.fromkeys(MEASURES)])
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(DataError):
        Limits(**limits)
