"""Cluster-robust intervals and tests: against brute force, and by simulation for the level they claim."""

import numpy as np
import pytest

from mlx_prune.measures.clustered import cluster_sums, clustered_wilson, paired_difference
from mlx_prune.measures.intervals import wilson
from mlx_prune.measures.significance import chi_square


def sums(seed=0, comparisons=4, clusters=12):
    rng = np.random.default_rng(seed)
    d0, d1 = rng.integers(5, 60, (2, comparisons, clusters)).astype(float)
    return rng.binomial(d0.astype(int), 0.2).astype(float), d0, rng.binomial(d1.astype(int), 0.3) + 0.0, d1


def linearized_error(n0, d0, n1, d1):
    r0, r1 = n0.sum() / d0.sum(), n1.sum() / d1.sum()
    residual = (n1 - r1 * d1) / d1.sum() - (n0 - r0 * d0) / d0.sum()
    return np.sqrt(len(n0) / (len(n0) - 1) * (residual**2).sum())


def test_cluster_sums_add_up_the_items_of_each_cluster():
    values = np.random.default_rng(0).integers(0, 9, (3, 20))
    cluster = np.random.default_rng(1).integers(0, 5, 20)
    got = cluster_sums(values, cluster, 5)
    for number in range(5):
        np.testing.assert_array_equal(got[:, number], values[:, cluster == number].sum(axis=1))


def test_cluster_sums_of_no_items_are_zero():
    np.testing.assert_array_equal(cluster_sums(np.zeros((3, 0)), np.zeros(0, np.intp), 2), np.zeros((3, 2)))


def test_value_and_error_equal_the_linearized_formulas():
    n0, d0, n1, d1 = sums()
    got = paired_difference(n0, d0, n1, d1, replicates=99)
    for row in range(4):
        want = n1[row].sum() / d1[row].sum() - n0[row].sum() / d0[row].sum()
        assert got.value[row] == pytest.approx(want)
        assert got.standard_error[row] == pytest.approx(linearized_error(n0[row], d0[row], n1[row], d1[row]))
    assert (got.clusters == 12).all()


def test_interval_and_p_value_equal_a_bootstrap_t_written_as_a_loop():
    n0, d0, n1, d1 = (x[0] for x in sums(3, 1, 10))
    got = paired_difference(n0, d0, n1, d1, replicates=1999)
    rng = np.random.default_rng(99)
    t = []
    for _ in range(4000):
        drawn = rng.integers(0, 10, 10)
        a, b, c, d = n0[drawn], d0[drawn], n1[drawn], d1[drawn]
        t.append((c.sum() / d.sum() - a.sum() / b.sum() - got.value[0]) / linearized_error(a, b, c, d))
    low, high = got.value[0] - np.quantile(t, [0.975, 0.025]) * got.standard_error[0]
    assert got.low[0] == pytest.approx(low, abs=0.25 * got.standard_error[0])
    assert got.high[0] == pytest.approx(high, abs=0.25 * got.standard_error[0])
    observed = got.value[0] / got.standard_error[0]
    p = 2 * min(np.mean(np.array(t) >= observed), np.mean(np.array(t) <= observed))
    assert got.p_value[0] == pytest.approx(p, abs=0.02)


def test_strata_count_equally_whatever_their_size():
    n0, d0, n1, d1 = sums(5, 3, 18)
    stratum = np.repeat([0, 1, 2], [10, 5, 3])
    got = paired_difference(n0, d0, n1, d1, stratum, replicates=99)
    parts = [[x[:, stratum == s] for x in (n0, d0, n1, d1)] for s in range(3)]
    each = [paired_difference(*part, replicates=99) for part in parts]
    np.testing.assert_allclose(got.value, np.mean([e.value for e in each], axis=0))
    np.testing.assert_allclose(
        got.standard_error, np.sqrt(np.sum([e.standard_error**2 for e in each], axis=0)) / 3
    )
    assert (got.clusters == 18).all()


def test_a_stratum_that_one_comparison_lacks_does_not_spoil_the_others():
    n0, d0, n1, d1 = sums(6, 2, 12)
    stratum = np.repeat([0, 1], 6)
    d1[0, :6] = n1[0, :6] = 0
    got = paired_difference(n0, d0, n1, d1, stratum, replicates=99)
    alone = paired_difference(*(x[:1, 6:] for x in (n0, d0, n1, d1)), replicates=99)
    assert got.value[0] == pytest.approx(alone.value[0])
    assert list(got.clusters) == [6, 12]


def test_a_comparison_of_a_run_with_itself_is_certain():
    n0, d0, _, _ = sums()
    got = paired_difference(n0, d0, n0, d0)
    assert (got.value == 0).all()
    assert (got.low == 0).all()
    assert (got.high == 0).all()
    assert (got.p_value == 1).all()


def test_few_clusters_cannot_give_a_small_p_value():
    d = np.full((1, 3), 1000.0)
    got = paired_difference(0 * d, d, d - np.array([[0, 10, 20]]), d)
    assert got.p_value[0] >= 0.25
    one = paired_difference(0 * d[:, :1], d[:, :1], d[:, :1], d[:, :1])
    assert np.isnan([one.low[0], one.high[0], one.p_value[0]]).all()
    assert one.value[0] == 1


def test_nothing_answered_is_nothing_known():
    empty = np.zeros((1, 4))
    got = paired_difference(empty, empty, empty, empty, replicates=99)
    assert np.isnan([got.value[0], got.low[0], got.p_value[0]]).all()


def test_the_same_sums_give_the_same_interval():
    first, second = (paired_difference(*sums(), replicates=499) for _ in range(2))
    np.testing.assert_array_equal(first.low, second.low)


def draw(rng, studies, templates, items, level, shift, spread):
    """Per-template counts of paired answers: templates lean, pruning moves each template differently."""
    lean = rng.normal(level, 1, (studies, templates, 1)) + rng.normal(0, 1, (studies, templates, items))
    moved = lean + rng.normal(shift, spread, (studies, templates, 1))
    noise = rng.random((studies, templates, items, 5))
    hits = [(noise < (1 / (1 + np.exp(-x)))[..., None]).sum(axis=(2, 3)) + 0.0 for x in (lean, moved)]
    return hits[0], hits[1], np.full(hits[0].shape, 5.0 * items)


@pytest.mark.parametrize(("templates", "level", "shift"), [(25, -1.5, 0.0), (25, -3.5, 0.4), (50, -4.0, 0.5)])
def test_intervals_cover_the_truth_where_answers_hang_together(templates, level, shift):
    rng = np.random.default_rng(7)
    truth_before, truth_after, truth_n = draw(rng, 1, 40_000, 6, level, shift, 0.5)
    truth = (truth_after - truth_before).sum() / truth_n.sum()
    before, after, n = draw(rng, 1000, templates, 12, level, shift, 0.5)
    got = paired_difference(before, n, after, n, replicates=999)
    covered = ((got.low <= truth) & (truth <= got.high)).mean()
    assert 0.915 <= covered <= 0.975


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
    clustered = (paired_difference(hits[0], n, hits[1], n, replicates=999).p_value < 0.05).mean()
    pooled = (chi_square(hits[0].sum(1), n.sum(1), hits[1].sum(1), n.sum(1)).p_value < 0.05).mean()
    assert 0.03 <= clustered <= 0.075
    assert pooled > 0.5


def test_clustered_wilson_is_wilson_where_each_cluster_is_one_answer():
    rng = np.random.default_rng(9)
    hits = (rng.random((5, 400)) < 0.3).astype(float)
    low, high = clustered_wilson(hits, np.ones((5, 400)))
    want_low, want_high = wilson(hits.sum(1), np.full(5, 400))
    np.testing.assert_allclose(low, want_low, atol=5e-4)
    np.testing.assert_allclose(high, want_high, atol=5e-4)


@pytest.mark.parametrize(("templates", "level"), [(25, -1.5), (25, -4.0), (50, -3.0)])
def test_clustered_wilson_covers_where_wilson_does_not(templates, level):
    rng = np.random.default_rng(10)
    truth_hits, _, truth_n = draw(rng, 1, 40_000, 6, level, 0, 0)
    truth = truth_hits.sum() / truth_n.sum()
    hits, _, n = draw(rng, 1000, templates, 12, level, 0, 0)
    low, high = clustered_wilson(hits, n)
    naive_low, naive_high = wilson(hits.sum(1), n.sum(1))
    assert 0.92 <= ((low <= truth) & (truth <= high)).mean() <= 0.98
    assert ((naive_low <= truth) & (truth <= naive_high)).mean() < 0.85


def test_clustered_wilson_counts_clusters_where_nothing_varies():
    low, high = clustered_wilson(np.zeros((1, 25)), np.full((1, 25), 100.0))
    want = wilson(0, 25)
    assert (low[0], high[0]) == (pytest.approx(want[0]), pytest.approx(want[1]))
    assert np.isnan(clustered_wilson(np.zeros((1, 1)), np.ones((1, 1)))[0][0])
