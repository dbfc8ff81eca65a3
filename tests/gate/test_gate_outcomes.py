"""What a gate says of models that do not answer, of pairs, of what is reachable, and of what went wrong."""

import json
import math
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_study import GRID, write_full_study

from mlx_prune.cli.main import run
from mlx_prune.errors import RecordsError
from mlx_prune.gate.judge import GateResult, gate
from mlx_prune.gate.limits import Check, Estimate, Limits, judge
from mlx_prune.gate.sources import measured_run
from mlx_prune.gate.text import advice, exit_code, sentence
from mlx_prune.stats.perplexity import Perplexity

SMALL = (GRID[0], GRID[6], GRID[9])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_full_study(tmp_path_factory.mktemp("study"), items=90, grid=SMALL)


@pytest.fixture
def copy(study, tmp_path):
    return shutil.copytree(study, tmp_path / "study")


@pytest.fixture(scope="module")
def measured(study):
    return {path.name: measured_run(path) for path in (study / "runs" / "alpha").iterdir()}


def mumble(folder, share, category=None):
    """Leave the letters of the first answers of a run, or of a category, to the last parsing rule."""
    for part in (folder / "records").glob("*.parquet"):
        table = pq.read_table(part)
        rules = table["parse_rule"].to_pylist()
        places = [row for row, name in enumerate(table["category"].to_pylist()) if category in (None, name)]
        for row in places[: int(share * len(places))]:
            rules[row] = "first_character"
        place = table.schema.get_field_index("parse_rule")
        column = pa.array(rules).cast(table.schema.field("parse_rule").type)
        pq.write_table(table.set_column(place, "parse_rule", column), part)


def test_gibberish_fails_and_its_rates_are_not_judged(copy):
    mumble(copy / "runs/alpha/wanda-s70", 0.98)
    runs = [measured_run(copy / "runs/alpha" / name) for name in ("dense-s0", "wanda-s70")]
    for limits in (Limits(), Limits(unanswered=None)):
        result = gate(*runs, limits)
        assert result.outcome == "fail"
        checks = {check.estimate.measure: check for check in result.checks}
        assert set(checks) == {"unanswered", "perplexity_rise"}
        assert checks["unanswered"].outcome == "fail"
        assert checks["unanswered"].estimate.value > 0.9
        assert set(result.unjudged) == {"srs_rise", "category_srs_rise", "emergence_excess", "usr_drop"}
    with pytest.raises(RecordsError, match="nothing to compare with"):
        gate(*reversed(runs))


def test_a_category_below_the_floor_fails_by_name_though_the_whole_is_above_it(copy, capsys):
    mumble(copy / "runs/alpha/wanda-s70", 0.9, "SES")
    runs = [measured_run(copy / "runs/alpha" / name) for name in ("dense-s0", "wanda-s70")]
    assert not runs[1].run.rates.overall.too_few()
    for limits in (Limits(unanswered=0.9), Limits(unanswered=None)):
        result = gate(*runs, limits)
        failing = [check for check in result.checks if check.estimate.measure == "unanswered"]
        failing = [check for check in failing if check.outcome == "fail"]
        assert [(check.estimate.scope, check.limit) for check in failing] == [("SES", 0.5)]
        assert failing[0].estimate.value > 0.5
        # Its own rise of SRS is not judged; those of the others are.
        judged = {c.estimate.scope for c in result.checks if c.estimate.measure == "category_srs_rise"}
        assert judged == {"Age", "Religion"}
    assert run(["gate", str(copy), "--candidate", "wanda-s70", "--max-unanswered", "off"]) == 3
    assert "not understood, SES" in capsys.readouterr().out


def test_the_share_not_understood_is_held_on_its_interval(measured):
    dense = measured["dense-s0"]
    understood, answers = dense.run.understood
    assert answers.sum() == dense.run.rates.overall.n_answers
    assert understood.sum() == sum(rates.n_answered for rates in dense.run.rates.categories)
    (check,) = (c for c in gate(dense, dense).checks if c.estimate.measure == "unanswered")
    assert check.estimate.low < check.estimate.value < check.estimate.high
    assert check.estimate.value == pytest.approx(1 - understood.sum() / answers.sum())


def losses(seed, shift, spread=5.0, text="text"):
    rng = np.random.default_rng(0)
    nll = rng.normal(300, 60, 40) + np.random.default_rng(seed).normal(shift, spread, 40)
    hashes = tuple(f"{text}{number}" for number in range(40))
    return Perplexity(math.exp(nll.mean() / 100), 1.0, 40, 101, 4000, tuple(nll.tolist()), hashes)


def test_perplexity_is_paired_by_sequence_where_it_can_be(measured):
    dense = replace(measured["dense-s0"], perplexity=losses(1, 0))
    pruned = replace(measured["wanda-s70"], perplexity=losses(2, 15))
    limits = Limits(None, None, None, None, 0.30, None)
    (paired,) = gate(dense, pruned, limits).checks
    assert paired.outcome == "pass"
    assert "paired over 40 sequences" in sentence(paired)
    bare = [
        replace(one, perplexity=replace(one.perplexity, sequence_nll=(), sequence_hashes=()))
        for one in (dense, pruned)
    ]
    (unpaired,) = gate(*bare, limits).checks
    assert "not paired" in sentence(unpaired)
    assert unpaired.estimate.value == pytest.approx(paired.estimate.value)
    width = paired.estimate.high - paired.estimate.low
    assert unpaired.estimate.high - unpaired.estimate.low > 2 * width
    other = replace(measured["wanda-s70"], perplexity=losses(2, 15, text="other"))
    with pytest.raises(RecordsError, match="different texts"):
        gate(dense, other, limits)


def test_perplexity_that_nearly_overflows_is_judged_all_the_same(measured):
    dense = replace(measured["dense-s0"], perplexity=losses(1, 0))
    ruined = replace(measured["wanda-s70"], perplexity=losses(2, 70_000, spread=10_000.0))
    assert math.isfinite(ruined.perplexity.value)
    result = gate(dense, ruined, Limits(None, None, None, None, 0.10, None))
    assert result.outcome == "fail"
    assert result.checks[0].estimate.high == math.inf
    assert len(sentence(result.checks[0])) < 200
    unsure = replace(measured["wanda-s70"], perplexity=losses(2, 20_000, spread=200_000.0))
    unsure = replace(unsure, perplexity=replace(unsure.perplexity, value=1e80))
    result = gate(dense, unsure, Limits(None, None, None, None, 0.10, None))
    assert result.outcome == "undecided"
    assert "not enough to tell" in sentence(result.checks[0])
    wide = judge(Estimate("perplexity_rise", "text", 0.05, -0.5, 1e300, 100), 0.1)
    assert (wide.outcome, wide.needed) == ("undecided", None)


def test_losses_in_perplexity_json_are_read(copy):
    path = copy / "perplexity.json"
    rows = json.loads(path.read_text())["results"]
    for seed, row in enumerate(rows):
        found = losses(seed, 10 * seed)
        row |= {**found.columns, "text": "demo"}
    path.write_text(json.dumps({"results": rows}))
    runs = [measured_run(copy / "runs/alpha" / name) for name in ("dense-s0", "wanda-s70")]
    result = gate(*runs)
    (check,) = (c for c in result.checks if c.estimate.measure == "perplexity_rise")
    assert check.estimate.note.startswith("paired over 40")
    assert check.estimate.low < check.estimate.value < check.estimate.high


def test_what_is_out_of_reach_says_so():
    estimate = Estimate("srs_rise", "overall", 0.019, -0.03, 0.07, 500, available=12_148)
    check = judge(estimate, 0.02)
    assert check.needed > 12_148
    assert "the source holds 12,148" in sentence(check)
    within = judge(replace(estimate, value=0.0, low=-0.03, high=0.03), 0.02)
    assert within.needed <= 12_148
    assert sentence(within).endswith("are needed.")


def test_expected_srs_is_suggested_where_it_tells_more():
    sampled = Estimate("srs_rise", "overall", 0.01, -0.05, 0.07, 100)
    expected = Check(replace(sampled, measure="expected_srs_rise", low=0.0, high=0.019), 0.02, "pass")
    told = advice(GateResult("a", "b", (judge(sampled, 0.02),), expected=expected))
    assert "--max-expected-srs-rise 0.02 would be kept" in told
    assert advice(GateResult("a", "b", ())) == ""


def test_expected_srs_can_be_a_limit(measured):
    limits = Limits(None, None, None, None, None, None, expected_srs_rise=0.5)
    (check,) = gate(measured["dense-s0"], measured["wanda-s70"], limits).checks
    assert (check.estimate.measure, check.outcome) == ("expected_srs_rise", "pass")


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


def test_one_candidates_error_does_not_lose_the_others(copy, tmp_path, capsys):
    about = copy / "runs/alpha/magnitude-s70/run.json"
    about.write_text("{")
    report = tmp_path / "gate.xml"
    assert run(["gate", str(copy), "--junit", str(report), "--json"]) == 3
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    found = {entry["candidate"]: entry for entry in printed["candidates"]}
    assert found["alpha/magnitude-s70"]["outcome"] == "error"
    assert "run.json" in found["alpha/magnitude-s70"]["error"]
    assert found["alpha/wanda-s70"]["outcome"] == "fail"
    assert (printed["passed"], printed["exit_code"]) == (False, 3)
    assert "alpha/magnitude-s70" in captured.err
    suites = {suite.get("name"): suite for suite in ElementTree.parse(report).getroot()}
    assert suites["alpha/magnitude-s70"].get("errors") == "1"
    assert suites["alpha/magnitude-s70"].find("testcase/error") is not None
    assert int(suites["alpha/wanda-s70"].get("failures")) > 0
    # On a terminal: a line for each.
    assert run(["gate", str(copy)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("alpha/magnitude-s70: error") for line in lines)
    assert any(line.startswith("alpha/wanda-s70: fail") for line in lines)


@pytest.mark.parametrize("name", ["perplexity.json", "runs/alpha/wanda-s70/run.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"results": 3}', "[" * 100_000, "\xff"])
def test_damaged_files_are_one_sentence(copy, capsys, name, content):
    (copy / name).write_bytes(content.encode("latin-1"))
    assert run(["gate", str(copy), "--candidate", "wanda-s70"]) == 1
    told = capsys.readouterr().err
    assert name.split("/")[-1] in told
    assert "unexpected" not in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[" * 100_000, None])
def test_times_are_not_read_whatever_they_hold(copy, capsys, content):
    words = ["gate", str(copy), "--candidate", "wanda-s70", "--json"]
    code = run(words)
    whole = capsys.readouterr().out
    (copy / "latency.json").unlink()
    if content is not None:
        (copy / "latency.json").write_text(content)
    assert run(words) == code
    assert capsys.readouterr().out == whole


@pytest.mark.parametrize("columns", [80, 120])
def test_it_is_readable_at_any_width(study, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("mlx_prune.cli.terminal.console.PIPED_WIDTH", columns)
    run(["gate", str(study), "--candidate", "wanda-s70"])
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= columns
    for words in ("emergence above null", "95 % interval", "undecided", "not understood"):
        assert words in out
    # Every check that is not kept has its sentence.
    joined = " ".join(out.split())
    assert joined.count("breaks the limit") + joined.count("not enough to tell") >= 3


def test_invented_questions_of_another_model_are_told_on_every_surface(copy, tmp_path, capsys):
    for about in copy.glob("runs/alpha/*/run.json"):
        data = json.loads(about.read_text())
        data["configuration"] |= {"bbq": "demo", "model": "alpha"}
        about.write_text(json.dumps(data))
    report = tmp_path / "gate.xml"
    words = ["gate", str(copy), "--candidate", "wanda-s70"]
    run([*words, "--junit", str(report), "--json"])
    captured = capsys.readouterr()
    (warning,) = json.loads(captured.out)["warnings"]
    assert "not BBQ" in warning
    assert warning in captured.err
    (property_,) = ElementTree.parse(report).getroot().iter("property")
    assert property_.get("value") == warning


def test_where_no_interval_can_be_had_the_sentence_says_so():
    check = judge(Estimate("category_srs_rise", "Age", 0.1, math.nan, math.nan, 12), 0.05)
    assert check.outcome == "undecided"
    assert "no interval can be had" in sentence(check)
