"""The gate: decisions against their intervals, on real tables, from the command line, in JUnit and JSON."""

import json
import math
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace

import numpy as np
import pytest
from report_study import GRID, write_full_study
from scipy import stats

from mlx_prune.cli.main import run
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.gate.judge import gate
from mlx_prune.gate.limits import MEASURES, Estimate, Limits, judge, judge_all, unmoved_bound
from mlx_prune.gate.sources import measured_run, study_runs
from mlx_prune.gate.text import junit, sentence
from mlx_prune.report.data import read_study
from mlx_prune.report.tables.change import Emergence, PairedTest
from mlx_prune.report.tables.table import Table

SMALL = (GRID[0], GRID[6], GRID[9])
LIMIT_NAMES = ("srs_rise", "category_srs_rise", "emergence_excess", "usr_drop", "perplexity_rise")
LIMIT_NAMES += ("unanswered", "expected_srs_rise")
# The made-up studies leave a fifth of all answers without a letter.
MUMBLING = ["--max-unanswered", "off"]


def estimate(value, low, high, size=100, measure="srs_rise", unit="items"):
    return Estimate(measure, "overall", value, low, high, size, unit)


def only(**limits):
    return Limits(**{name: limits.get(name) for name in LIMIT_NAMES})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_full_study(tmp_path_factory.mktemp("study"), items=150, grid=SMALL)


@pytest.fixture(scope="module")
def measured(study):
    return {path.name: measured_run(path) for path in (study / "runs" / "alpha").iterdir()}


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


def test_what_no_number_of_items_settles_says_so():
    for value, half in ((0.02, 0.01), (0.0200001, 0.05)):
        check = judge(estimate(value, value - half, value + half), 0.02)
        assert (check.outcome, check.needed) == ("undecided", None)
        assert "no feasible number" in sentence(check)


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


@pytest.mark.parametrize("limits", [{"srs_rise": -0.1}, {"usr_drop": math.nan}, dict.fromkeys(LIMIT_NAMES)])
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(DataError):
        Limits(**limits)


def test_estimates_are_the_tables_own(study, measured):
    result = gate(measured["dense-s0"], measured["wanda-s70"])
    found = {(c.estimate.measure, c.estimate.scope): c.estimate for c in result.checks}
    data = read_study(study)
    for row in Table.of(PairedTest, PairedTest.of_study(data)).where(prune_method="wanda").rows:
        kind = "srs_rise" if row["category"] == "overall" else "category_srs_rise"
        one = found[kind, row["category"]]
        assert [one.value, one.low, one.high] == [
            row["srs_delta"],
            row["srs_delta_low"],
            row["srs_delta_high"],
        ]
    (row,) = Table.of(Emergence, Emergence.of_study(data)).where(prune_method="wanda").rows
    assert found["emergence_excess", "overall"].value == pytest.approx(row["excess"])
    dense, pruned = (measured[name].run.rates.overall.usr for name in ("dense-s0", "wanda-s70"))
    assert found["usr_drop", "overall"].value == pytest.approx(dense - pruned)
    ratio = measured["wanda-s70"].perplexity.value / measured["dense-s0"].perplexity.value
    rise = found["perplexity_rise", "text"]
    assert rise.value == pytest.approx(ratio - 1)
    # Two standard errors of 1 % each, as the fixture has them.
    assert math.log((1 + rise.high) / (1 + rise.value)) == pytest.approx(1.96 * math.sqrt(2) * 0.01, rel=1e-3)


def test_perplexity_that_overflows_breaks_any_limit(measured):
    dense, pruned = measured["dense-s0"], measured["wanda-s70"]
    broken = replace(pruned, perplexity=replace(pruned.perplexity, value=math.inf))
    (check,) = gate(dense, broken, only(perplexity_rise=10.0)).checks
    assert check.outcome == "fail"


def test_the_same_weights_pass_however_few_the_items(tmp_path):
    folder = write_full_study(tmp_path, items=12, grid=SMALL[:1])
    run = folder / "runs/alpha/dense-s0"
    unknown = measured_run(run)
    assert gate(unknown, unknown).outcome == "undecided"
    about = json.loads((run / "run.json").read_text())
    about["configuration"]["weights"] = "abc"
    (run / "run.json").write_text(json.dumps(about))
    same = measured_run(run)
    result = gate(same, same)
    assert result.outcome == "pass"
    assert {check.estimate.high for check in result.checks} == {0.0}


def test_runs_asked_differently_are_refused(measured):
    warmer = replace(measured["wanda-s70"], configuration={"temperature": 0.7})
    with pytest.raises(RecordsError, match="different temperature"):
        gate(measured["dense-s0"], warmer)


def test_perplexity_that_was_not_measured_is_told(measured):
    result = gate(measured["dense-s0"], replace(measured["wanda-s70"], perplexity=None))
    assert result.unmeasured == ("perplexity_rise",)


def test_a_study_names_its_candidates(study):
    pairs = study_runs(study)
    assert [candidate.name for _, candidate in pairs] == ["magnitude-s70", "wanda-s70"]
    assert {dense.name for dense, _ in pairs} == {"dense-s0"}
    assert study_runs(study, ("alpha/dense-s0",))[0][1].name == "dense-s0"
    with pytest.raises(RecordsError, match="has no wanda-s71"):
        study_runs(study, ("wanda-s71",))


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


def test_the_command_fails_on_a_worse_model_and_passes_dense_against_itself(study, tmp_path, capsys):
    report = tmp_path / "gate.xml"
    assert run(["gate", str(study), "--candidate", "wanda-s70", "--junit", str(report)]) == 3
    assert "alpha/wanda-s70: fail" in capsys.readouterr().out
    assert ElementTree.parse(report).getroot().find("testsuite").get("name") == "alpha/wanda-s70"
    dense = str(study / "runs/alpha/dense-s0")
    loose = ["--max-category-srs-rise", "0.2", "--max-srs-rise", "0.05", *MUMBLING]
    assert run(["gate", dense, dense, "--json", *loose]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["passed"]
    assert {check["outcome"] for check in printed["candidates"][0]["checks"]} == {"pass"}


def test_undecided_passes_only_when_allowed(study, capsys):
    limits = ["--max-srs-rise", "off", "--max-usr-drop", "off", "--max-emergence", "off"]
    limits += ["--max-perplexity-rise", "off", "--max-category-srs-rise", "0.01", *MUMBLING]
    words = ["gate", str(study), "--candidate", "dense-s0", *limits]
    assert run(words) == 4
    assert "are needed" in " ".join(capsys.readouterr().out.split())
    assert run([*words, "--allow-undecided"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--limit", "5"], 2, "--limit would be ignored"),
        (["--max-srs-rise", "2"], 2, "not between 0 and 1"),
        (["--max-usr-drop", "much"], 2, "neither a number nor 'off'"),
        (["--candidate", "wanda-s99"], 1, "has no wanda-s99"),
    ],
)
def test_wrong_usage_is_one_sentence(study, capsys, words, code, message):
    assert run(["gate", str(study), *words]) == code
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_study_is_refused(tmp_path, capsys):
    assert run(["gate", str(tmp_path)]) == 1
    assert "is no study folder" in capsys.readouterr().err


def test_a_limit_on_perplexity_that_nobody_measured_is_refused(study, tmp_path, capsys):
    copies = [
        shutil.copytree(study / "runs/alpha" / name, tmp_path / name) for name in ("dense-s0", "wanda-s70")
    ]
    words = ["gate", *map(str, copies)]
    assert run([*words, "--max-perplexity-rise", "10"]) == 1
    assert "perplexity was not measured" in capsys.readouterr().err
    assert run(words) == 3
    assert "Not measured" in capsys.readouterr().out
