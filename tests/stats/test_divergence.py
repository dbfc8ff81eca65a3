"""The figures of a divergence against SciPy and plain loops in float64, and their intervals by simulation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from mlx_prune.json_files import to_jsonable
from mlx_prune.stats.divergence import Divergence, TokenDivergences, divergence_of, kl_with_bucket


def distributions(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(special.log_softmax(rng.normal(0, scale, shape), -1) for scale in (3, 2))


def rest(log: np.ndarray, kept: int) -> np.ndarray:
    return special.logsumexp(log[..., kept:], axis=-1)


@given(st.integers(0, 1000), st.integers(2, 30), st.data())
def test_it_is_the_relative_entropy_of_what_is_known_and_a_bucket(
    seed: int, vocabulary: int, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, vocabulary - 1))
    p, q = distributions(seed, 5, vocabulary)
    found = kl_with_bucket(p[:, :kept], q[:, :kept], rest(p, kept), rest(q, kept))
    lumped = [np.column_stack([np.exp(x[:, :kept]), np.exp(rest(x, kept))]) for x in (p, q)]
    assert found == pytest.approx(special.rel_entr(*lumped).sum(-1), abs=1e-12)
    # The log sum inequality: it is a lower bound, and exact where all is known.
    exact = special.rel_entr(np.exp(p), np.exp(q)).sum(-1)
    assert (found <= exact + 1e-12).all()
    nothing = np.full(5, -np.inf)
    assert kl_with_bucket(p, q, nothing, nothing) == pytest.approx(exact, abs=1e-12)
    within = [special.log_softmax(x[:, kept:], -1) for x in (p, q)]
    missing = np.exp(rest(p, kept)) * special.rel_entr(*(np.exp(x) for x in within)).sum(-1)
    assert found + missing == pytest.approx(exact, abs=1e-12)


def test_a_distribution_lies_at_nothing_from_itself_and_beyond_all_bounds_from_one_that_excludes_it() -> None:
    p, q = distributions(0, 4, 9)
    nothing = np.full(4, -np.inf)
    assert kl_with_bucket(p, p, nothing, nothing).tolist() == [0.0] * 4
    # Rounding alone: float32 logarithms of one distribution, summed by two routes.
    rounded = p.astype(np.float32)
    assert kl_with_bucket(p, rounded, nothing, nothing) == pytest.approx(np.zeros(4), abs=1e-6)
    excluded = q.copy()
    excluded[2, 0] = -np.inf
    assert np.isinf(kl_with_bucket(p, excluded, nothing, nothing)).tolist() == [False, False, True, False]
    impossible = p.copy()
    impossible[:, 0] = -np.inf
    assert np.isfinite(kl_with_bucket(impossible, q, nothing, nothing)).all()


def tokens(seed: int = 1, sequences: int = 9, positions: int = 23) -> TokenDivergences:
    rng = np.random.default_rng(seed)
    shape = (sequences, positions)
    missing = np.full(shape, np.nan)
    missing[:, ::4] = rng.normal(0.01, 0.05, missing[:, ::4].shape)
    return TokenDivergences(
        kl=rng.lognormal(-3, 1.5, shape) * rng.lognormal(0, 0.5, (sequences, 1)),
        missing=missing,
        dense_log=-rng.exponential(2, shape),
        model_log=-rng.exponential(2.2, shape),
        same_top=rng.random(shape) < 0.8,
    )


def test_figures_are_what_plain_loops_give() -> None:
    data = tokens()
    found = divergence_of(data)
    every = sorted(data.kl.ravel().tolist())
    assert found.kl == pytest.approx(sum(every) / len(every))
    assert found.kl_median == every[math.ceil(len(every) * 0.5) - 1]
    assert found.kl_99 == every[math.ceil(len(every) * 0.99) - 1]
    assert found.kl_max == every[-1]
    changes = [
        math.exp(q) - math.exp(p) for p, q in zip(data.dense_log.flat, data.model_log.flat, strict=True)
    ]
    assert found.probability_rms == pytest.approx(math.sqrt(sum(c * c for c in changes) / len(changes)))
    assert found.same_top == sum(data.same_top.flat) / data.same_top.size
    added = (data.dense_log - data.model_log).mean(axis=1)
    peer = stats.ttest_1samp(added, 0).confidence_interval(0.95)
    assert (found.log_ratio, found.log_ratio_low, found.log_ratio_high) == pytest.approx(
        (added.mean(), peer.low, peer.high)
    )
    drawn = data.missing[:, ::4].mean(axis=1)
    assert (found.kl_missing, found.kl_missing_error) == pytest.approx((drawn.mean(), stats.sem(drawn)))
    assert (found.sequences, found.tokens) == (9, 9 * 23)
    for name in ("kl", "kl_median", "kl_99", "probability_rms", "same_top", "log_ratio"):
        value, low, high = (getattr(found, name + end) for end in ("", "_low", "_high"))
        assert low <= value <= high


def test_a_model_at_no_distance_has_no_spread_either() -> None:
    data = tokens()
    same = dataclasses.replace(
        data, kl=np.zeros_like(data.kl), model_log=data.dense_log, same_top=np.ones_like(data.same_top)
    )
    found = divergence_of(same)
    assert (found.kl, found.kl_low, found.kl_high, found.kl_99_high, found.probability_rms_high) == (0,) * 5
    assert (found.log_ratio_low, found.log_ratio_high, found.same_top) == (0, 0, 1)
    assert found.same_top_low < 1  # of so many sequences, others need not be so


def test_few_sequences_and_infinite_divergences_have_no_interval() -> None:
    one = divergence_of(tokens(sequences=1))
    ends = [value for name, value in one.figures.items() if name.endswith(("_low", "_high", "_error"))]
    assert len(ends) == 13
    assert all(math.isnan(end) for end in ends)
    assert divergence_of(tokens(sequences=6)).kl_low >= 0
    data = tokens()
    data.kl[2, 3] = math.inf
    found = divergence_of(data)
    assert found.kl == found.kl_max == math.inf
    assert math.isnan(found.kl_high)
    assert math.isfinite(found.kl_99)


def test_figures_come_back_from_json_with_null_for_what_is_not_finite() -> None:
    data = tokens(sequences=1)
    data.kl[0, 0] = math.inf
    found = divergence_of(data)
    row = to_jsonable(found.figures)
    assert (row["kl"], row["kl_low"], row["sequences"]) == (None, None, 1)
    again = Divergence.of(row)
    assert repr(again) == repr(found)  # NaN is equal to nothing
    with pytest.raises(ValueError, match="kl_99 is absent"):
        Divergence.of({name: value for name, value in row.items() if name != "kl_99"})


def test_intervals_cover_what_they_should() -> None:
    """Tokens of one sequence hang together; the truths are those of the distribution that is drawn from."""
    rng = np.random.default_rng(5)
    runs, sequences, positions = 300, 30, 40
    covered = dict.fromkeys(("kl", "kl_median", "kl_99"), 0)
    spread, within = 0.4, 1.0
    total = math.hypot(spread, within)
    truth = {
        "kl": math.exp(total**2 / 2),
        "kl_median": 1.0,
        "kl_99": math.exp(stats.norm.ppf(0.99) * total),
    }
    for _ in range(runs):
        data = tokens(sequences=sequences, positions=positions)
        logs = rng.normal(0, within, (sequences, positions)) + rng.normal(0, spread, (sequences, 1))
        found = divergence_of(dataclasses.replace(data, kl=np.exp(logs)))
        for name, value in truth.items():
            covered[name] += getattr(found, f"{name}_low") <= value <= getattr(found, f"{name}_high")
    assert all(stats.binomtest(n, runs, 0.93, alternative="less").pvalue > 0.01 for n in covered.values()), (
        covered
    )
