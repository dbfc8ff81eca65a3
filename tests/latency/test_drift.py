"""The fitted drift of one model over a run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlx_prune.latency.ratio import fitted_drift


def run_of(
    drift: float, items: int, rounds: int, seed: int, stutters: float = 0.05
) -> tuple[np.ndarray, ...]:
    """Times of a model whose machine takes `drift` more at the end; items in random order each round."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(items) for _ in range(rounds)])
    started = np.sort(rng.uniform(0, 100, items * rounds))
    share = (started - started[0]) / np.ptp(started)
    logs = rng.normal(0, 0.5, items)[order] + np.log1p(drift) * share + rng.normal(0, 0.02, len(order))
    logs += (rng.random(len(order)) < 0.05) * rng.uniform(0.2, 1.5, len(order))
    return started, np.exp(logs), order


@pytest.mark.parametrize("drift", [-0.2, 0.0, 0.05, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_a_steady_drift_is_found_among_stutters(drift: float, seed: int) -> None:
    assert fitted_drift(*run_of(drift, 30, 4, seed)) == pytest.approx(drift, abs=0.04)


def test_long_runs_are_thinned_not_slow() -> None:
    assert fitted_drift(*run_of(0.3, 500, 20, 1)) == pytest.approx(0.3, abs=0.02)


def test_one_round_falls_back_to_the_items_as_they_are() -> None:
    started = np.arange(50.0)
    assert fitted_drift(started, np.exp(0.01 * started), np.arange(50)) == pytest.approx(math.exp(0.49) - 1)


def test_the_slope_is_the_weighted_median_over_pairs_of_the_same_item() -> None:
    started, items = np.array([0.0, 1.0, 2.0, 10.0, 4.0]), np.array([0, 1, 0, 0, 1])
    times = np.exp([0.0, 5.0, 0.2, 0.5, 5.9])
    # Pairs, slope and weight: 0.1 x 2, 0.0375 x 8, 0.05 x 10 (item 0); 0.3 x 3 (item 1).
    # Half of the 23 is reached within 0.05.
    assert fitted_drift(started, times, items) == pytest.approx(math.expm1(0.05 * 10))


def test_too_little_to_fit_is_nan() -> None:
    assert math.isnan(fitted_drift(np.array([1.0]), np.ones(1), np.array([0])))
    assert math.isnan(fitted_drift(np.zeros(5), np.ones(5), np.arange(5)))
    assert math.isnan(fitted_drift(np.array([]), np.array([]), np.array([], int)))
