"""The paired ratio of perplexities against SciPy, against its own definition, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlx_prune.stats.perplexity import Perplexity, independent_ratio, paired_ratio, sequence_hash

TOKENS = 100


def losses(nll: np.ndarray, *, text: str = "text") -> Perplexity:
    hashes = tuple(f"{text}{i}" for i in range(len(nll)))
    tokens = TOKENS * len(nll)
    return Perplexity(math.nan, math.nan, len(nll), TOKENS + 1, tokens, tuple(nll.tolist()), hashes)


@given(
    st.lists(st.tuples(st.floats(1, 800), st.floats(1, 800)), min_size=2, max_size=40),
)
def test_it_is_the_paired_t_interval_of_losses_per_token(pairs: list[tuple[float, float]]) -> None:
    dense, pruned = np.array(pairs).T
    found = paired_ratio(losses(dense), losses(pruned))
    assert found is not None
    perplexities = [math.exp(part.sum() / (TOKENS * len(part))) for part in (dense, pruned)]
    assert math.exp(found.log) == pytest.approx(perplexities[1] / perplexities[0])
    if np.ptp(pruned - dense) > 1e-3:
        peer = stats.ttest_rel(pruned / TOKENS, dense / TOKENS).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=1e-9)


def test_what_is_hard_for_both_cancels() -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(300, 60, 64)
    pruned = dense + rng.normal(15, 3, 64)
    found = paired_ratio(losses(dense), losses(pruned))
    assert found is not None
    spread = math.hypot(dense.std(ddof=1), pruned.std(ddof=1)) / TOKENS / math.sqrt(64)
    assert found.high - found.low < 0.1 * 2 * 1.96 * spread


def test_intervals_cover_what_they_should() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        dense = rng.normal(300, 60, 12)
        pruned = dense + rng.normal(10, 8, 12)
        found = paired_ratio(losses(dense), losses(pruned))
        assert found is not None
        covered += found.low <= 10 / TOKENS <= found.high
    assert stats.binomtest(covered, 1000, 0.95).pvalue > 1e-3


def test_other_sequences_are_not_paired() -> None:
    one = losses(np.array([10.0, 20.0]))
    assert paired_ratio(one, losses(np.array([10.0, 20.0]), text="other")) is None
    assert paired_ratio(one, losses(np.array([10.0]))) is None
    assert paired_ratio(losses(np.array([])), losses(np.array([]))) is None


def test_one_sequence_has_no_interval() -> None:
    found = paired_ratio(losses(np.array([10.0])), losses(np.array([30.0])))
    assert found is not None
    assert found.log == pytest.approx(0.2)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_hash_tells_sequences_apart() -> None:
    ids = np.arange(5, dtype=np.int32)
    assert sequence_hash(ids) == sequence_hash(ids.copy())
    assert len({sequence_hash(ids), sequence_hash(ids[::-1]), sequence_hash(ids[:4])}) == 3


def test_a_figure_is_what_its_row_says() -> None:
    found = Perplexity(8.5, 0.1, 2, 101, 200, (400.0, math.inf), ("a", "b"))
    row = found.columns
    assert list(row)[:2] == ["perplexity", "standard_error"]
    assert Perplexity.of(row) == found
    # In the file, null stands for what is not finite.
    assert Perplexity.of(row | {"sequence_nll": [400.0, None]}) == found
    assert Perplexity.of({"perplexity": None}).value == math.inf


def test_intervals_of_figures_taken_as_independent_add_up() -> None:
    dense, pruned = (Perplexity(value, 0.01 * value, 0, 0, 0) for value in (10.0, 12.0))
    low, high = dense.interval
    assert (math.log(high / 10), math.log(10 / low)) == pytest.approx((0.0196, 0.0196), rel=1e-3)
    found = independent_ratio(dense, pruned)
    assert found.log == pytest.approx(math.log(1.2))
    assert found.high - found.log == pytest.approx(math.sqrt(2) * math.log(high / 10))
    assert Perplexity(math.inf, math.inf, 0, 0, 0).interval == (math.inf, math.inf)
    assert math.isfinite(Perplexity(1.0, 1e9, 0, 0, 0).interval[1])
