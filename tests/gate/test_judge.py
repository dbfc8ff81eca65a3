"""A dense model and a candidate that were measured, held to limits."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from gate_studies import SMALL, mumble, only
from kept_distances import token_divergences
from report_study import write_full_study

from mlx_prune.cli.main import run
from mlx_prune.errors import RecordsError
from mlx_prune.gate.judge import gate
from mlx_prune.gate.limits import Estimate, Limits, judge
from mlx_prune.gate.sources import measured_run
from mlx_prune.gate.text import sentence
from mlx_prune.report.data import read_study
from mlx_prune.report.tables.change import Emergence, PairedTest
from mlx_prune.report.tables.table import Table
from mlx_prune.stats.divergence import divergence_of
from mlx_prune.stats.perplexity import Perplexity


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


def test_a_candidate_with_another_chat_template_is_judged_and_told_apart(measured):
    dense, candidate = measured["dense-s0"], measured["wanda-s70"]
    kept = replace(dense, configuration={**dense.configuration, "prompts": "a"})
    other = replace(candidate, configuration={**candidate.configuration, "prompts": "b"})
    result = gate(kept, other)
    assert result.checks == gate(dense, candidate).checks
    assert f"{candidate.name} reads the same questions as other prompts" in result.warnings[-1]


def test_distances_are_held_on_their_intervals(measured):
    dense = measured["dense-s0"]
    tokens = token_divergences(*(-np.ones((12, 40)),) * 2, 0.2)
    found = divergence_of(tokens)
    far = replace(measured["wanda-s70"], divergence=found)
    for limit, outcome in (
        (1.5 * found.kl_high, "pass"),
        (found.kl_low / 2, "fail"),
        (found.kl, "undecided"),
    ):
        (check,) = gate(dense, far, only(kl=limit)).checks
        assert (check.outcome, check.estimate.value, check.estimate.unit) == (outcome, found.kl, "tokens")
    (check,) = gate(dense, far, only(other_top=0.5)).checks
    one = check.estimate
    assert (one.value, one.low, one.high) == pytest.approx(
        (1 - found.same_top, 1 - found.same_top_high, 1 - found.same_top_low)
    )
    assert check.outcome == "pass"
    beyond = replace(far, divergence=replace(found, kl=math.inf, kl_low=math.nan, kl_high=math.nan))
    (check,) = gate(dense, beyond, only(kl=10.0)).checks
    assert check.outcome == "fail"
    assert gate(dense, measured["wanda-s70"], Limits(kl=0.1)).unmeasured == ("kl",)


def test_perplexity_that_was_not_measured_is_told(measured):
    result = gate(measured["dense-s0"], replace(measured["wanda-s70"], perplexity=None))
    assert result.unmeasured == ("perplexity_rise",)


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


def test_expected_srs_can_be_a_limit(measured):
    limits = Limits(None, None, None, None, None, None, expected_srs_rise=0.5)
    (check,) = gate(measured["dense-s0"], measured["wanda-s70"], limits).checks
    assert (check.estimate.measure, check.outcome) == ("expected_srs_rise", "pass")
