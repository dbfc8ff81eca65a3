"""An outcome in sentences, JUnit XML and exit codes."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from mlx_prune.gate.judge import GateResult, gate
from mlx_prune.gate.limits import Check, Estimate, judge
from mlx_prune.gate.text import advice, exit_code, junit, sentence


def estimate(value, low, high, size=100, measure="srs_rise", unit="items"):
    return Estimate(measure, "overall", value, low, high, size, unit)


def test_what_no_number_of_items_settles_says_so():
    for value, half in ((0.02, 0.01), (0.0200001, 0.05)):
        check = judge(estimate(value, value - half, value + half), 0.02)
        assert (check.outcome, check.needed) == ("undecided", None)
        assert "no feasible number" in sentence(check)


def test_what_is_out_of_reach_says_so():
    estimate = Estimate("srs_rise", "overall", 0.019, -0.03, 0.07, 500, available=12_148)
    check = judge(estimate, 0.02)
    assert check.needed > 12_148
    assert "the source holds 12,148" in sentence(check)
    within = judge(replace(estimate, value=0.0, low=-0.03, high=0.03), 0.02)
    assert within.needed <= 12_148
    assert sentence(within).endswith("are needed.")


def test_where_no_interval_can_be_had_the_sentence_says_so():
    check = judge(Estimate("category_srs_rise", "Age", 0.1, math.nan, math.nan, 12), 0.05)
    assert check.outcome == "undecided"
    assert "no interval can be had" in sentence(check)


def test_expected_srs_is_suggested_where_it_tells_more():
    sampled = Estimate("srs_rise", "overall", 0.01, -0.05, 0.07, 100)
    expected = Check(replace(sampled, measure="expected_srs_rise", low=0.0, high=0.019), 0.02, "pass")
    told = advice(GateResult("a", "b", (judge(sampled, 0.02),), expected=expected))
    assert "--max-expected-srs-rise 0.02 would be kept" in told
    assert advice(GateResult("a", "b", ())) == ""


def outcome(name):
    estimate = Estimate("srs_rise", "overall", 0.0, 0.0, 0.0, 1)
    if name == "error":
        return GateResult("a", "b", (), error="No.")
    return GateResult("a", "b", (Check(estimate, 0.1, name),))


@pytest.mark.parametrize(
    ("outcomes", "code", "code_if_allowed"),
    [
        (["pass"], 0, 0),
        (["fail"], 3, 3),
        (["undecided"], 4, 0),
        (["error"], 1, 1),
        (["pass", "undecided"], 4, 0),
        (["undecided", "error"], 1, 1),
        (["error", "fail", "undecided"], 3, 3),
    ],
)
def test_exit_codes_tell_outcomes_apart(outcomes, code, code_if_allowed):
    results = [outcome(name) for name in outcomes]
    assert exit_code(results, undecided_passes=False) == code
    assert exit_code(results, undecided_passes=True) == code_if_allowed


def test_junit_counts_failures_and_skips(measured):
    results = [gate(measured["dense-s0"], measured["wanda-s70"])]
    outcomes = [check.outcome for check in results[0].checks]
    for undecided_passes in (False, True):
        root = ElementTree.fromstring(junit(results, undecided_passes=undecided_passes))
        suite = root.find("testsuite")
        assert int(suite.get("tests")) == len(outcomes) == len(suite.findall("testcase"))
        skipped = outcomes.count("undecided") if undecided_passes else 0
        failing = len(outcomes) - outcomes.count("pass") - skipped
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == failing
        assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped")) == skipped
