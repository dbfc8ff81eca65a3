"""Every table of a study, from record files, against loops over plain records."""

from collections import Counter

import numpy as np
import pytest
from random_study import LETTERS, random_records, usable, write_study
from scipy import stats

from mlx_prune.report.tables.build import build_tables
from mlx_prune.stats.tests import benjamini_hochberg

DENSE = ("dense", 0.0, None)
CONFIGURATION = ("prune_method", "sparsity", "pattern")


def of(rows, row, **more):
    """The records behind a row of a table."""
    wanted = {name: row[name] for name in ("model", "category", *CONFIGURATION) if name in row} | more
    return [r for r in rows if all(r[name] == value for name, value in wanted.items())]


def dense_of(rows, row):
    return of(rows, {k: v for k, v in row.items() if k in ("model", "category")}, prune_method="dense")


def counts(records):
    """Stereotyped, unknown, other and all understood answers to items with a target."""
    found = [r for r in usable(records) if r["parsed_answer"]]
    stereotyped = sum(LETTERS.index(r["parsed_answer"]) == r["stereotype_target_index"] for r in found)
    unknown = sum(LETTERS.index(r["parsed_answer"]) == r["unknown_index"] for r in found)
    return stereotyped, unknown, len(found) - stereotyped - unknown, len(found)


def item_srs(records):
    """Per item: stereotyped answers over understood ones, None where none was understood."""
    items = {}
    for record in usable(records):
        items.setdefault(record["item_id"], []).append(record)
    return {
        item: (c[0] / c[3] if c[3] else None) for item, c in ((i, counts(mine)) for i, mine in items.items())
    }


def test_rates_and_their_changes(study):
    rows, _, tables = study
    assert len(tables["rates"]) == 2 * 6 * 3
    for row in tables["rates"].records():
        stereotyped, unknown, anti, n = counts(of(rows, row))
        before = counts(dense_of(rows, row))
        assert row["n_valid"] == n
        assert row["srs"] == pytest.approx(stereotyped / n)
        assert row["usr"] == pytest.approx(unknown / n)
        assert row["anti_rate"] == pytest.approx(anti / n)
        assert row["bias_score"] == pytest.approx((stereotyped - anti) / n)
        interval = stats.binomtest(stereotyped, n).proportion_ci(method="wilson")
        assert (row["srs_ci_low"], row["srs_ci_high"]) == pytest.approx((interval.low, interval.high))
        interval = stats.binomtest(unknown, n).proportion_ci(method="wilson")
        assert (row["usr_ci_low"], row["usr_ci_high"]) == pytest.approx((interval.low, interval.high))
        assert row["srs_clustered_low"] <= row["srs"] <= row["srs_clustered_high"]
        assert row["srs_delta"] == pytest.approx(stereotyped / n - before[0] / before[3])
        assert row["usr_delta"] == pytest.approx(unknown / n - before[1] / before[3])
        assert row["actual_sparsity"] == (0 if row["prune_method"] == "dense" else 33.3)


def test_overall_is_the_unweighted_mean_of_the_categories(study):
    _, _, tables = study
    for row in tables["overall"].records():
        mine = tables["rates"].where(model=row["model"], **{c: row[c] for c in CONFIGURATION})
        for name in ("srs", "usr", "anti_rate", "bias_score"):
            assert row[name] == pytest.approx(np.mean(mine.column(name)))


def test_transitions_and_dose_response(study):
    rows, _, tables = study
    shares = {}
    for row in tables["transitions"].records():
        before, after = item_srs(dense_of(rows, row)), item_srs(of(rows, row))
        unbiased = [item for item in after if before.get(item) == 0]
        biased = [item for item in after if before.get(item)]
        became = sum(bool(after[item]) for item in unbiased)
        assert (row["total_unbiased_items"], row["became_biased"]) == (len(unbiased), became)
        assert row["total_biased_items"] == len(biased)
        assert row["became_unbiased"] == sum(after[item] == 0 for item in biased)
        assert row["pct_became_biased"] == round(100 * became / len(unbiased), 2)
        if row["pattern"] is None:
            shares.setdefault((row["model"], row["sparsity"]), []).append(row["pct_became_biased"])
    assert len(tables["dose_response"]) == len(shares) == 6
    for row in tables["dose_response"].records():
        want = np.mean(shares[row["model"], row["sparsity"]])
        assert row["avg_pct_became_biased"] == pytest.approx(want, abs=0.00501)


def test_evaluation_gap_and_methods(study):
    _, _, tables = study
    overall = {tuple(r[c] for c in ("model", *CONFIGURATION)): r for r in tables["overall"].records()}
    assert len(tables["evaluation_gap"]) == 12
    for row in tables["evaluation_gap"].records():
        mine, base = overall[tuple(row[c] for c in ("model", *CONFIGURATION))], overall[row["model"], *DENSE]
        assert row["srs_pct_change"] == round((mine["srs"] - base["srs"]) / base["srs"] * 100, 2)
        change = (mine["perplexity"] - base["perplexity"]) / base["perplexity"]
        assert row["ppl_pct_change"] == round(change * 100, 2)
    assert {(r["prune_method"], r["pattern"]) for r in tables["methods_at_50"].records()} == {
        ("random", None),
        ("wanda", None),
        ("wanda", "2:4"),
    }


def test_chi_square_tests_equal_scipy(study):
    rows, _, tables = study
    assert len(tables["tests"]) == 2 * 5 * 3
    for row in tables["tests"].records():
        before, after = counts(dense_of(rows, row)), counts(of(rows, row))
        want = stats.chi2_contingency([[c[0], c[3] - c[0]] for c in (before, after)])
        assert row["chi2"] == pytest.approx(want.statistic)
        assert row["p_value"] == pytest.approx(want.pvalue)
        assert row["significant"] == (want.pvalue < 0.05)
        rates = [c[0] / c[3] for c in (before, after)]
        assert row["cohens_h"] == pytest.approx(2 * np.diff(np.arcsin(np.sqrt(rates)))[0])
        lossy = [[int(r * c[3]), c[3] - int(r * c[3])] for r, c in zip(rates, (before, after), strict=True)]
        assert row["chi2_study"] == pytest.approx(stats.chi2_contingency(lossy).statistic)
    p = tables["tests"].column("p_value")
    np.testing.assert_allclose(tables["tests"].column("q_value"), benjamini_hochberg(p))


def test_paired_tests_hold_the_same_changes(study):
    rows, _, tables = study
    by_category = {
        (r["model"], r["category"], *(r[c] for c in CONFIGURATION)): r["srs_delta"]
        for r in tables["rates"].records()
    }
    assert len(tables["paired_tests"]) == 2 * 5 * 4
    for row in tables["paired_tests"].records():
        name = tuple(row[c] for c in CONFIGURATION)
        if row["category"] == "overall":
            mine = [v for k, v in by_category.items() if k[0] == row["model"] and k[2:] == name]
            assert row["srs_delta"] == pytest.approx(np.mean(mine))
            continue
        assert row["srs_delta"] == pytest.approx(by_category[row["model"], row["category"], *name])
        assert row["srs_delta_low"] <= row["srs_delta"] <= row["srs_delta_high"]
        before, after = item_srs(dense_of(rows, row)), item_srs(of(rows, row))
        both = [i for i in after if after[i] is not None and before.get(i) is not None]
        up = sum(before[i] <= 0.5 < after[i] for i in both)
        down = sum(after[i] <= 0.5 < before[i] for i in both)
        assert (row["items_up"], row["items_down"]) == (up, down)
        assert row["p_mcnemar"] == pytest.approx(stats.binomtest(up, up + down).pvalue if up + down else 1)
    family = [r for r in tables["paired_tests"].records() if r["category"] != "overall"]
    q = benjamini_hochberg([r["p_clustered"] for r in family])
    np.testing.assert_allclose([r["q_clustered"] for r in family], q)


def test_lost_abstention_and_direction_add_up(study):
    _, _, tables = study
    rates = {
        (r["model"], r["category"], *(r[c] for c in CONFIGURATION)): r
        for r in (
            *tables["rates"].records(),
            *({"category": "overall"} | r for r in tables["overall"].records()),
        )
    }
    for row in tables["direction"].records():
        rate = rates[row["model"], row["category"], *(row[c] for c in CONFIGURATION)]
        base = rates[row["model"], row["category"], *DENSE]
        assert row["srs_delta"] == pytest.approx(rate["srs_delta"])
        assert row["abstention_part"] == pytest.approx(-0.5 * rate["usr_delta"])
        assert row["bias_score_delta"] == pytest.approx(rate["bias_score"] - base["bias_score"])
        assert row["direction_part_low"] <= row["direction_part"] <= row["direction_part_high"]


def test_emergence_stands_beside_its_null(study):
    rows, _, tables = study
    for row in tables["emergence"].records():
        before, after = item_srs(dense_of(rows, row)), item_srs(of(rows, row))
        unbiased = [item for item in after if before.get(item) == 0]
        assert row["unbiased_items"] == len(unbiased)
        assert row["observed"] == pytest.approx(np.mean([bool(after[item]) for item in unbiased]))
        null = []
        for item in unbiased:
            mine = [r for r in dense_of(rows, row) if r["item_id"] == item]
            letters = [mine[0]["p_a"], mine[0]["p_b"], mine[0]["p_c"]]
            rate = letters[mine[0]["stereotype_target_index"]] / sum(letters)
            null.append(1 - (1 - rate) ** sum(r["parsed_answer"] is not None for r in mine))
        assert row["null"] == pytest.approx(np.mean(null), abs=1e-6)
        assert row["excess"] == pytest.approx(row["expected"] - row["null"])
        assert row["excess_low"] <= row["excess"] <= row["excess_high"]
        assert row["held_out_excess"] == pytest.approx(row["held_out"] - row["held_out_null"])


def test_latent_items(study):
    rows, _, tables = study
    for row in tables["latent_items"].records():
        srs = item_srs(of(rows, row, prune_method="dense"))
        kept = sum(value is not None and value >= 0.2 for value in srs.values())
        assert (row["total_items"], row["filtered_items"]) == (len(srs), kept)
        assert row["pct_retained"] == round(100 * kept / len(srs), 1)
    for row in tables["latent_rates"].records():
        srs = item_srs(dense_of(rows, row))
        latent = {item for item, value in srs.items() if value is not None and value >= 0.2}
        stereotyped, unknown, _, n = counts([r for r in of(rows, row) if r["item_id"] in latent])
        assert (row["n_valid"], row["srs"], row["usr"]) == pytest.approx((n, stereotyped / n, unknown / n))


def test_failures_entropy_latency_and_sizes(study):
    rows, _, tables = study
    for row in tables["parse_failures"].records():
        mine = [r for r in of(rows, row) if r["context_condition"] == "ambig"]
        failed = sum(r["parsed_answer"] is None for r in mine)
        assert (row["total"], row["parse_failures"]) == (len(mine), failed)
        assert row["parse_fail_rate"] == pytest.approx(failed / len(mine))
        assert row["rule_none"] == failed
    for row in tables["entropy"].records():
        mine = [r for r in of(rows, row) if r["context_condition"] == "ambig" and r["parsed_answer"]]
        letters = Counter(r["parsed_answer"] for r in mine)
        assert row["response_entropy"] == pytest.approx(stats.entropy(list(letters.values()), base=2))
    for row in tables["latency"].records():
        times = [r["elapsed_s"] for r in of(rows, row)]
        want = (np.mean(times), np.median(times), np.quantile(times, 0.95))
        assert (row["latency_mean"], row["latency_median"], row["latency_p95"]) == pytest.approx(want)
    assert sorted(tables["sizes"].column("size_bytes")) == list(range(1000, 1012))


def test_disambiguated_accuracy(study):
    rows, _, tables = study
    checked = 0
    for row in tables["disambiguated"].records():
        if row["category"] == "overall":
            continue
        mine = [
            r
            for r in of(rows, row)
            if r["context_condition"] == "disambig" and r["stereotype_target_index"] is not None
        ]
        answered = [r for r in mine if r["parsed_answer"]]
        if answered:
            right = sum(LETTERS.index(r["parsed_answer"]) == r["label"] for r in answered)
            assert row["accuracy"] == pytest.approx(right / len(answered))
            checked += 1
    assert checked > 10


def test_answer_transitions_cover_every_pair(study):
    rows, _, tables = study
    for model, method in (("alpha", "magnitude"), ("beta", "random")):
        mine = tables["answer_transitions"].where(model=model, prune_method=method)
        pairs = {
            (r["item_id"], r["seed"])
            for r in usable(rows)
            if r["model"] == model and r["prune_method"] == "dense"
        }
        sparsities = {r["sparsity"] for r in mine.records()}
        want = sum(
            (r["item_id"], r["seed"]) in pairs
            for r in usable(rows)
            if r["model"] == model and r["prune_method"] == method
        )
        assert sum(mine.column("answers")) == want
        for sparsity in sparsities:
            shares = [r["share"] for r in mine.where(sparsity=sparsity, dense="unknown").records()]
            assert sum(shares) == pytest.approx(1)


def test_expected_rates_and_the_regression_are_there(study):
    _, _, tables = study
    assert len(tables["expected"]) == 2 * 6 * 4
    assert max(abs(z) for z in tables["expected"].column("srs_z")) < 6
    assert {r["sparsity_axis"] for r in tables["logistic"].records()} == {"target", "actual"}
    assert all(r["answers"] > 0 for r in tables["logistic"].records())
    summary = {r["test"]: r for r in tables["test_summary"].records()}
    assert summary["chi-square, as in the study"]["comparisons"] == 30
    assert summary["chi-square, as in the study"]["significant"] == sum(tables["tests"].column("significant"))


def test_a_dense_model_against_itself_shows_no_change(tmp_path):
    rows = random_records(6, items=30, grid=(DENSE,))
    copies = [r | {"prune_method": "wanda", "sparsity": 50.0} for r in rows]
    tables = build_tables(write_study(tmp_path, [*rows, *copies]))
    for row in tables["paired_tests"].records():
        assert (row["srs_delta"], row["srs_delta_low"], row["srs_delta_high"]) == (0, None, None)
        assert row["p_clustered"] == row["p_mcnemar"] == 1
    emergence = tables["emergence"].records()[0]
    assert emergence["observed"] == emergence["excess"] == 0
    assert emergence["null"] > 0
