"""Two-sample and paired tests against scipy and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlx_prune.stats.tests import benjamini_hochberg, chi_square, mcnemar

counts = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=200, deadline=None)
@given(counts, counts)
def test_chi_square_equals_scipy_contingency_with_yates(first, second):
    (a, n0), (c, n1) = first, second
    got = chi_square(a, n0, c, n1)
    if 0 < a + c < n0 + n1:
        want = stats.chi2_contingency([[a, n0 - a], [c, n1 - c]])
        assert got.statistic == pytest.approx(want.statistic, rel=1e-9, abs=1e-12)
        assert got.p_value == pytest.approx(want.pvalue, rel=1e-7, abs=1e-300)
    else:
        assert np.isnan(got.statistic)
        assert np.isnan(got.p_value)


def test_chi_square_works_on_arrays_elementwise():
    rng = np.random.default_rng(0)
    n0, n1 = rng.integers(1, 500, (2, 3, 4))
    a, c = rng.integers(0, n0 + 1), rng.integers(0, n1 + 1)
    got = chi_square(a, n0, c, n1)
    for index in np.ndindex(3, 4):
        one = chi_square(a[index], n0[index], c[index], n1[index])
        np.testing.assert_equal(got.statistic[index], one.statistic)


def test_mcnemar_equals_scipy_binomial_test_on_the_discordant_items():
    rng = np.random.default_rng(1)
    before, after, usable = rng.random((3, 7, 40)) < np.array([0.3, 0.5, 0.9])[:, None, None]
    got = mcnemar(before, after, usable)
    for row in range(7):
        up = sum(a and not b for b, a, u in zip(before[row], after[row], usable[row], strict=True) if u)
        down = sum(b and not a for b, a, u in zip(before[row], after[row], usable[row], strict=True) if u)
        assert (got.up[row], got.down[row]) == (up, down)
        assert got.p_value[row] == pytest.approx(stats.binomtest(up, up + down).pvalue)


def test_mcnemar_without_a_change_is_certain_of_nothing():
    same = np.array([True, False, True])
    assert mcnemar(same, same, np.ones(3, bool)).p_value == 1.0


def test_mcnemar_keeps_its_level_under_no_effect():
    rng = np.random.default_rng(2)
    before, after = rng.random((2, 4000, 60)) < 0.4
    rejected = (mcnemar(before, after, np.ones_like(before)).p_value < 0.05).mean()
    assert rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


def brute_force_bh(p):
    order = np.argsort(p)
    adjusted, smallest = np.empty(len(p)), 1.0
    for rank in range(len(p), 0, -1):
        smallest = min(smallest, p[order[rank - 1]] * len(p) / rank)
        adjusted[order[rank - 1]] = smallest
    return adjusted


def test_benjamini_hochberg_equals_the_step_up_definition_and_skips_nan():
    p = np.random.default_rng(3).random(31) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), brute_force_bh(p))
    holed = np.insert(p, 5, np.nan)
    got = benjamini_hochberg(holed)
    assert np.isnan(got[5])
    np.testing.assert_allclose(np.delete(got, 5), brute_force_bh(p))


def test_benjamini_hochberg_controls_the_false_discovery_rate():
    rng = np.random.default_rng(4)
    shares = []
    for _ in range(400):
        z = rng.normal(size=180)
        z[:60] += 3
        found = benjamini_hochberg(2 * stats.norm.sf(np.abs(z))) < 0.05
        shares.append(found[60:].sum() / max(found.sum(), 1))
    assert np.mean(shares) < 0.05
    assert np.mean(shares) > 0.01
