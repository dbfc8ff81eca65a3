"""Cluster-robust intervals and tests: against brute force, and by simulation for the level they claim."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlx_prune.stats.clustered import cluster_sums, clustered_wilson, paired_difference
from mlx_prune.stats.rates import wilson
from mlx_prune.stats.tests import chi_square

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from interval_methods import bootstrap_t, ours
from made_up_benchmarks import BALANCED, FALL, KINDS, LARGE, NONE, RISE, Cell, draw


def sums(seed=0, comparisons=4, clusters=12):
    rng = np.random.default_rng(seed)
    d0, d1 = rng.integers(5, 60, (2, comparisons, clusters)).astype(float)
    return rng.binomial(d0.astype(int), 0.2).astype(float), d0, rng.binomial(d1.astype(int), 0.3) + 0.0, d1


def jackknife_error(n0, d0, n1, d1):
    """What leaving out each cluster changes, summed as squares."""

    def value(keep):
        return n1[keep].sum() / d1[keep].sum() - n0[keep].sum() / d0[keep].sum()

    every = np.arange(len(n0))
    return np.sqrt(sum((value(every != one) - value(every >= 0)) ** 2 for one in every))


def test_cluster_sums_add_up_the_items_of_each_cluster():
    values = np.random.default_rng(0).integers(0, 9, (3, 20))
    cluster = np.random.default_rng(1).integers(0, 5, 20)
    got = cluster_sums(values, cluster, 5)
    for number in range(5):
        np.testing.assert_array_equal(got[:, number], values[:, cluster == number].sum(axis=1))


def test_cluster_sums_of_no_items_are_zero():
    np.testing.assert_array_equal(cluster_sums(np.zeros((3, 0)), np.zeros(0, np.intp), 2), np.zeros((3, 2)))


def test_value_and_error_equal_a_jackknife_written_as_a_loop():
    n0, d0, n1, d1 = sums()
    got = paired_difference(n0, d0, n1, d1)
    for row in range(4):
        want = n1[row].sum() / d1[row].sum() - n0[row].sum() / d0[row].sum()
        assert got.value[row] == pytest.approx(want)
        assert got.standard_error[row] == pytest.approx(jackknife_error(n0[row], d0[row], n1[row], d1[row]))
    assert (got.clusters == 12).all()


def test_without_skewness_the_interval_is_students():
    change = np.array([-4.0, -2, 0, 6, -4, 6, 0, -2, 1, 3] * 4)
    change = np.concatenate([change, -change])
    n = np.full((1, 80), 100.0)
    got = paired_difference(0 * n + 20, n, 23 + change[None], n)
    added = change / 100 / 79
    supported = (added**2).sum() ** 2 / (added**4).sum()
    reach = stats.t.ppf(0.975, min(79, 2 * supported - 1)) * np.sqrt((added**2).sum())
    assert got.high[0] - got.value[0] == pytest.approx(reach)
    assert got.value[0] - got.low[0] == pytest.approx(reach)


def test_the_limit_solves_its_equation_on_the_side_of_the_long_tail():
    """The squared distance is the squared quantile times a variance that grows with the distance."""
    change = np.array([0, 0, 0, 1, 0, 2, 0, 0, 9, 1, 0, 4, 0, 0, 1, 0, 0, 3, 0, 0.0])
    n = np.full((1, 20), 50.0)
    got = paired_difference(0 * n, n, change[None], n)
    added = (change - change.mean()) / 50 / 19
    variance = (added**2).sum()
    slope = 1.5 * (20 / 18) ** 2 * (added**3).sum() / variance
    quantile = stats.t.ppf(0.975, variance**2 / (added**4).sum())
    distance = got.high[0] - got.value[0]
    assert distance**2 == pytest.approx(quantile**2 * (variance + slope * distance))
    assert distance > 1.5 * (got.value[0] - got.low[0])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 2), min_size=2, max_size=30),
    st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999, 1 - 1e-6]),
    st.integers(1, 3),
)
def test_an_interval_excludes_zero_exactly_where_the_p_value_says_so(pairs, confidence, strata):
    before, after = np.array(pairs, float).T[:, None]
    n, stratum = np.full_like(before, 30), np.arange(len(pairs)) % strata
    got = paired_difference(before, n, after, n, stratum, confidence=confidence)
    low, high, p = got.low[0], got.high[0], got.p_value[0]
    if np.isnan(low):
        assert len(pairs) < 6 or min(np.bincount(stratum)) < 2 or (got.value[0], p) == (0, 1)
        assert np.isnan(high)
        return
    assert low <= got.value[0] <= high
    assert p >= min(1, 2.0 ** (1 - (before != after).sum()))
    if abs(p - (1 - confidence)) > 1e-9:
        assert (low > 0 or high < 0) == (p < 1 - confidence)
    back = paired_difference(after, n, before, n, stratum, confidence=confidence)
    np.testing.assert_allclose([-back.high[0], -back.low[0], back.p_value[0]], [low, high, p], atol=1e-12)
    surer = paired_difference(before, n, after, n, stratum, confidence=(1 + confidence) / 2)
    assert surer.low[0] <= low
    assert high <= surer.high[0]


def test_strata_count_equally_whatever_their_size():
    n0, d0, n1, d1 = sums(5, 3, 18)
    stratum = np.repeat([0, 1, 2], [10, 5, 3])
    got = paired_difference(n0, d0, n1, d1, stratum)
    parts = [[x[:, stratum == s] for x in (n0, d0, n1, d1)] for s in range(3)]
    each = [paired_difference(*part) for part in parts]
    np.testing.assert_allclose(got.value, np.mean([e.value for e in each], axis=0))
    np.testing.assert_allclose(
        got.standard_error, np.sqrt(np.sum([e.standard_error**2 for e in each], axis=0)) / 3
    )
    assert (got.clusters == 18).all()


def test_a_stratum_that_one_comparison_lacks_does_not_spoil_the_others():
    n0, d0, n1, d1 = sums(6, 2, 12)
    stratum = np.repeat([0, 1], 6)
    d1[0, :6] = n1[0, :6] = 0
    got = paired_difference(n0, d0, n1, d1, stratum)
    alone = paired_difference(*(x[:1, 6:] for x in (n0, d0, n1, d1)))
    assert got.value[0] == pytest.approx(alone.value[0])
    assert list(got.clusters) == [6, 12]


def test_where_no_cluster_differs_there_is_no_interval_and_nothing_to_find():
    n0, d0, _, _ = sums()
    got = paired_difference(n0, d0, n0, d0)
    assert (got.value == 0).all()
    assert (got.p_value == 1).all()
    assert np.isnan([got.low, got.high]).all()


def test_where_all_clusters_change_alike_the_spread_is_that_of_one_answer():
    n = np.full((1, 50), 80.0)
    alike = paired_difference(0 * n, n, n / 2, n)
    one = paired_difference(0 * n, n, np.eye(50)[:1], n)
    assert alike.low[0] < alike.value[0] == 0.5 < alike.high[0]
    assert alike.high[0] - 0.5 == pytest.approx(one.high[0] - one.value[0], rel=0.2)
    assert alike.p_value[0] < 0.05


def test_few_clusters_cannot_be_told_apart():
    d = np.full((1, 6), 1000.0)
    got = paired_difference(0 * d, d, d - np.array([[0, 10, 20, 5, 5, 20]]), d)
    assert got.p_value[0] >= 2**-5
    few = paired_difference(*(x[:, :5] for x in (0 * d, d, d, d)))
    assert np.isnan([few.low[0], few.high[0], few.p_value[0]]).all()
    assert few.value[0] == 1


@pytest.mark.filterwarnings("error")
def test_where_one_cluster_holds_nearly_all_answers_the_interval_is_the_whole_scale():
    n = np.array([[500.0, 10, 10, 10, 10, 10, 10, 10]])
    got = paired_difference(0.3 * n, n, 0.4 * n + np.eye(8)[3:4], n)
    assert (got.low[0], got.high[0]) == (-1, 1)
    assert got.p_value[0] > 0.9


def test_answers_in_a_single_cluster_of_a_category_tell_no_spread():
    n0, d0, n1, d1 = sums(4, 1, 13)
    got = paired_difference(n0, d0, n1, d1, np.repeat([0, 1], [12, 1]))
    assert np.isnan([got.low[0], got.high[0], got.p_value[0]]).all()


def test_nothing_answered_is_nothing_known():
    empty = np.zeros((1, 4))
    got = paired_difference(empty, empty, empty, empty)
    assert np.isnan([got.value[0], got.low[0], got.p_value[0]]).all()


def test_the_same_sums_give_the_same_interval():
    first, second = (paired_difference(*sums()) for _ in range(2))
    np.testing.assert_array_equal(first.low, second.low)


def answered(rng, studies, templates, items, level, shift, spread):
    """Per-template counts of paired answers: templates lean, pruning moves each template differently."""
    lean = rng.normal(level, 1, (studies, templates, 1)) + rng.normal(0, 1, (studies, templates, items))
    moved = lean + rng.normal(shift, spread, (studies, templates, 1))
    noise = rng.random((studies, templates, items, 5))
    hits = [(noise < (1 / (1 + np.exp(-x)))[..., None]).sum(axis=(2, 3)) + 0.0 for x in (lean, moved)]
    return hits[0], hits[1], np.full(hits[0].shape, 5.0 * items)


HARD = (
    Cell(KINDS[0], 25, 8, 0.01, RISE),
    Cell(KINDS[0], 25, 20, 0.03, LARGE),
    Cell(KINDS[1], 25, 20, 0.03, FALL),
    Cell(KINDS[2], 25, 8, 0.01, RISE),
    Cell(KINDS[2], 12, 20, 0.03, FALL),
    Cell(KINDS[0], 12, 20, 0.6, RISE),
    Cell(KINDS[2], 6, 24, 0.03, RISE, categories=5),
)


@pytest.mark.parametrize("cell", HARD, ids=str)
def test_intervals_cover_the_truth_where_effects_are_rare_and_skewed(cell):
    drawn = draw(cell, 700, 7)
    low, high, _ = ours(drawn)
    assert ((low <= drawn.truth) & (drawn.truth <= high)).mean() >= 0.925


@pytest.mark.parametrize(
    "cell",
    [
        Cell(KINDS[0], 30, 3, 0.03, RISE),
        Cell(KINDS[2], 30, 3, 0.03, LARGE, confined=True),
        Cell(KINDS[0], 30, 3, 0.03, RISE, held_out=True),
        Cell(KINDS[1], 30, 3, 0.1, BALANCED, held_out=True),
        Cell(KINDS[2], 30, 3, 0.3, FALL, confined=True, spread=0.1, held_out=True),
    ],
    ids=str,
)
def test_made_up_benchmarks_have_on_average_the_rate_and_the_change_they_claim(cell):
    drawn = draw(cell, 2000, 3)
    before, after = (hits.sum(axis=1) / drawn.answers.sum(axis=1) for hits in (drawn.before, drawn.after))
    for found, truth in ((before, cell.rate), (after - before, drawn.truth)):
        assert abs(found.mean() - truth) < 4 * found.std() / np.sqrt(2000)


def test_a_bootstrap_t_does_not_cover_the_truth_there():
    drawn = draw(HARD[3], 700, 7)
    low, high, _ = bootstrap_t(drawn)
    assert ((low <= drawn.truth) & (drawn.truth <= high)).mean() < 0.925


@pytest.mark.parametrize("effect", [NONE, BALANCED])
@pytest.mark.parametrize(("kind", "rate"), [(KINDS[0], 0.03), (KINDS[1], 0.1), (KINDS[2], 0.02)])
def test_the_test_keeps_its_level_at_the_rates_of_real_models(kind, rate, effect):
    p = ours(draw(Cell(kind, 25, 15, rate, effect), 700, 11))[2]
    assert (p < 0.05).mean() <= 0.07


def test_the_test_keeps_its_level_where_chi_square_does_not():
    """Templates move, up as often as down: no change on the whole, but the study's test finds one."""
    rng = np.random.default_rng(8)
    lean = rng.normal(-1, 1, (1000, 25, 1)) + rng.normal(0, 1, (1000, 25, 20))
    change = rng.normal(0, 1, (1000, 25, 1))
    noise = rng.random((1000, 25, 20, 5))
    # Before and after are exchangeable, so the difference is zero on average whatever the link.
    hits = [
        (noise < (1 / (1 + np.exp(-(lean + sign * change))))[..., None]).sum(axis=(2, 3)) + 0.0
        for sign in (-1, 1)
    ]
    n = np.full((1000, 25), 100.0)
    clustered = (paired_difference(hits[0], n, hits[1], n).p_value < 0.05).mean()
    pooled = (chi_square(hits[0].sum(1), n.sum(1), hits[1].sum(1), n.sum(1)).p_value < 0.05).mean()
    assert 0.02 <= clustered <= 0.07
    assert pooled > 0.5


def test_clustered_wilson_is_wilson_where_each_cluster_is_one_answer():
    rng = np.random.default_rng(9)
    hits = (rng.random((5, 400)) < 0.3).astype(float)
    low, high = clustered_wilson(hits, np.ones((5, 400)))
    want_low, want_high = wilson(hits.sum(1), np.full(5, 400))
    np.testing.assert_allclose(low, want_low, atol=2e-3)
    np.testing.assert_allclose(high, want_high, atol=2e-3)


@pytest.mark.parametrize(("templates", "level"), [(25, -1.5), (25, -4.0), (50, -3.0)])
def test_clustered_wilson_covers_where_wilson_does_not(templates, level):
    rng = np.random.default_rng(10)
    truth_hits, _, truth_n = answered(rng, 1, 40_000, 6, level, 0, 0)
    truth = truth_hits.sum() / truth_n.sum()
    hits, _, n = answered(rng, 1000, templates, 12, level, 0, 0)
    low, high = clustered_wilson(hits, n)
    naive_low, naive_high = wilson(hits.sum(1), n.sum(1))
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.99
    assert ((naive_low <= truth) & (truth <= naive_high)).mean() < 0.85


def test_clustered_wilson_counts_clusters_where_nothing_varies():
    low, high = clustered_wilson(np.zeros((1, 25)), np.full((1, 25), 100.0))
    want = wilson(0, 25)
    assert (low[0], high[0]) == (pytest.approx(want[0]), pytest.approx(want[1]))
    assert np.isnan(clustered_wilson(np.zeros((1, 1)), np.ones((1, 1)))[0][0])
