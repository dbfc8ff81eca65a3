"""The grouped logistic regression against statsmodels on single answers, and against simulated truth."""

import numpy as np
import pytest
from scipy import stats

from mlx_prune.stats.regression import LogisticCounts, logistic_regression

sm = pytest.importorskip("statsmodels.api")


def single_answers(seed=0, answers=6000, template_spread=0.0):
    rng = np.random.default_rng(seed)
    method = rng.choice(["dense", "magnitude", "random", "wanda"], answers)
    sparsity = np.where(method == "dense", 0.0, rng.choice([10.0, 30.0, 50.0, 70.0], answers))
    category = rng.choice(["Age", "Religion", "SES"], answers)
    template = rng.integers(0, 30, answers)
    lean = rng.normal(0, template_spread, 30)[template] if template_spread else 0.0
    log_odds = -2 + 0.02 * sparsity + 0.5 * (category == "SES") - 0.7 * (method == "wanda") + lean
    hit = rng.random(answers) < 1 / (1 + np.exp(-log_odds))
    return hit.astype(float), sparsity, category, method, template


def grouped(hit, sparsity, category, method, template):
    keys = np.stack([sparsity.astype(str), category, method, template.astype(str)], axis=1)
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    return LogisticCounts(
        np.bincount(group, hit),
        np.bincount(group).astype(float),
        sparsity[first],
        category[first],
        method[first],
        template[first],
    )


def design(sparsity, category, method):
    columns = [np.ones(len(sparsity)), sparsity]
    columns += [category == c for c in sorted(set(category))[1:]]
    columns += [method == m for m in sorted(set(method))[1:]]
    return np.stack(columns, axis=1).astype(float)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_grouped_fit_equals_statsmodels_logit_on_single_answers(seed):
    hit, sparsity, category, method, template = single_answers(seed)
    want = sm.Logit(hit, design(sparsity, category, method)).fit(disp=0, tol=1e-12)
    got = logistic_regression(grouped(hit, sparsity, category, method, template))
    for name, expected in (
        ("coefficient", want.params),
        ("standard_error", want.bse),
        ("p_value", want.pvalues),
        ("low", want.conf_int()[:, 0]),
        ("high", want.conf_int()[:, 1]),
    ):
        np.testing.assert_allclose([getattr(t, name) for t in got.terms], expected, rtol=1e-6, atol=1e-9)
    assert got.log_likelihood == pytest.approx(want.llf, rel=1e-10)
    assert got.pseudo_r_squared == pytest.approx(want.prsquared, rel=1e-8)
    assert got.answers == len(hit)
    assert [t.name for t in got.terms] == [
        "const",
        "sparsity",
        "category_Religion",
        "category_SES",
        "prune_method_magnitude",
        "prune_method_random",
        "prune_method_wanda",
    ]


def test_clustered_errors_equal_statsmodels_on_single_answers():
    hit, sparsity, category, method, template = single_answers(3, template_spread=0.8)
    clusters = {"groups": template}
    want = sm.Logit(hit, design(sparsity, category, method)).fit(
        disp=0, cov_type="cluster", cov_kwds=clusters
    )
    got = logistic_regression(grouped(hit, sparsity, category, method, template))
    np.testing.assert_allclose([t.clustered_standard_error for t in got.terms], want.bse, rtol=1e-5)
    scores = want.model.score_obs(want.params)
    summed = np.array([scores[template == one].sum(axis=0) for one in np.unique(template)])
    square = (summed @ np.linalg.inv(-want.model.hessian(want.params))) ** 2
    degrees = np.minimum(2 * square.sum(axis=0) ** 2 / (square**2).sum(axis=0) - 1, len(summed) - 1)
    p = 2 * stats.t.sf(np.abs(want.params / want.bse), degrees)
    np.testing.assert_allclose([t.clustered_p_value for t in got.terms], p, rtol=1e-3, atol=1e-12)
    assert (p >= want.pvalues).all()


def test_clustered_errors_hold_their_level_where_plain_ones_do_not():
    plain, clustered = [], []
    for seed in range(60):
        hit, sparsity, category, method, _ = single_answers(seed, answers=1500)
        rng = np.random.default_rng(1000 + seed)
        # Every template belongs to one category and leans its own way: the category has no effect beyond.
        template = rng.integers(0, 20, len(hit)) + 20 * np.searchsorted(["Age", "Religion", "SES"], category)
        lean = rng.normal(0, 1, 60)[template]
        hit = (rng.random(len(hit)) < 1 / (1 + np.exp(-(lean - 1)))).astype(float)
        terms = {
            t.name: t for t in logistic_regression(grouped(hit, sparsity, category, method, template)).terms
        }
        plain.append(terms["category_SES"].p_value < 0.05)
        clustered.append(terms["category_SES"].clustered_p_value < 0.05)
    assert np.mean(plain) > 0.2
    assert np.mean(clustered) < 0.15


def test_one_pruned_configuration_leaves_its_method_undetermined():
    hit, sparsity, category, _, template = single_answers(4)
    method = np.where(sparsity == 50, "wanda", "dense")
    keep = (sparsity == 0) | (sparsity == 50)
    fit = logistic_regression(grouped(*(a[keep] for a in (hit, sparsity, category, method, template))))
    terms = {t.name: t for t in fit.terms}
    assert np.isnan(terms["prune_method_wanda"].coefficient)
    assert np.isfinite(terms["sparsity"].coefficient)


def test_a_category_without_a_stereotyped_answer_is_left_out_and_named():
    hit, sparsity, category, method, template = single_answers(5)
    hit[category == "Age"] = 0
    fit = logistic_regression(grouped(hit, sparsity, category, method, template))
    keep = category != "Age"
    alone = logistic_regression(grouped(*(a[keep] for a in (hit, sparsity, category, method, template))))
    assert fit.left_out == ("Age",)
    assert fit.terms == alone.terms
    assert fit.answers == keep.sum()


def test_answers_all_alike_give_no_fit():
    hit, sparsity, category, method, template = single_answers(6, answers=500)
    assert logistic_regression(grouped(0 * hit, sparsity, category, method, template)) is None
