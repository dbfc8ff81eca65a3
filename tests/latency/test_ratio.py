"""Paired ratios: what the interval covers on a machine that drifts and stutters, and how it is made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from simulated_machine import Machine, ratio_interval

from mlx_prune.latency.ratio import (
    MIN_ITEMS,
    critical_value,
    degrees_of_freedom,
    log_ratios,
    paired_ratio,
    trimmed_error,
    trimmed_mean,
)

RUNS = 1000
MACHINES = {
    "quiet": Machine(),
    "throttling": Machine(throttle=0.4, wander=0.05),
    "throttling at once, stuttering": Machine(step=0.3, stutters=0.05),
    "stuttering": Machine(stutters=0.08, wander=0.05),
    "sharing its cores": Machine(interference=0.15, wander=0.03, stutters=0.03),
    "noisy in every way": Machine(noise=0.15, wander=0.1, stutters=0.05, throttle=0.3),
    "with items that differ": Machine(item_spread=0.03, wander=0.05, throttle=0.3),
}


@pytest.mark.parametrize("name", list(MACHINES))
@pytest.mark.parametrize(("items", "rounds", "ratio"), [(40, 5, 1.0), (24, 3, 0.9), (60, 2, 1.3)])
def test_a_95_percent_interval_holds_the_true_ratio_in_93_percent_of_runs_and_in_few_more(
    name: str, items: int, rounds: int, ratio: float
) -> None:
    times, dense = MACHINES[name].run(ratio, simulations=RUNS, items=items, rounds=rounds, seed=items)
    estimate, low, high = ratio_interval(log_ratios(times, dense))
    truth = math.log(ratio)
    # With stutters in every tenth pair the interval is a little too wide rather than too narrow.
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.985
    assert abs(np.mean(estimate) - truth) < 0.005


@pytest.mark.parametrize("rounds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_intervals_of_blocks_cover_the_mood_of_each_load(rounds: int, spread: float) -> None:
    machine = Machine(mood=0.03, throttle=0.3, wander=0.05, stutters=0.03, item_spread=spread)
    times, dense = machine.run(
        1.07, simulations=RUNS, items=24, rounds=rounds, schedule="blocks", seed=rounds
    )
    logs, truth = log_ratios(times, dense), math.log(1.07)
    _, low, high = ratio_interval(logs, blocks=True)
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.985
    _, low, high = ratio_interval(logs)
    assert np.mean((low <= truth) & (truth <= high)) < 0.85, "resampling items alone should miss the moods"


def test_the_simulated_machine_fools_a_benchmark_that_runs_one_model_after_the_other() -> None:
    machine = MACHINES["throttling"]
    times, dense = machine.run(
        1.0, simulations=200, items=40, rounds=5, schedule="one after the other", seed=1
    )
    _, low, high = ratio_interval(log_ratios(times, dense))
    assert np.mean((low <= 0) & (high >= 0)) < 0.1


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=50))
def test_the_standard_error_is_yuens(values: list[float]) -> None:
    cut = int(0.2 * len(values))
    kept = len(values) - 2 * cut
    winsorized = stats.mstats.winsorize(np.array(values), limits=(cut / len(values) + 1e-9,) * 2)
    expected = math.sqrt(((winsorized - winsorized.mean()) ** 2).sum() / (kept * (kept - 1)))
    assert trimmed_error(np.array(values)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("items", [8, 12, 20, 40])
@pytest.mark.parametrize("family", [1, 12, 36])
def test_far_levels_hold_for_normal_noise(items: int, family: int) -> None:
    runs = 80_000
    values = np.random.default_rng(items).normal(0, 1, (runs, items))
    t = np.abs(trimmed_mean(values)) / trimmed_error(values)
    missed = np.mean(t > critical_value(degrees_of_freedom(items), 0.95, family))
    wanted = 0.05 / family
    # Four standard deviations of the count, and a tenth for what the formula is off by.
    assert missed <= 1.1 * wanted + 4 * math.sqrt(wanted / runs)
    assert missed >= 0.6 * wanted


def test_intervals_of_a_family_are_wider_and_can_be_made_anew() -> None:
    times, dense = Machine(noise=0.1).run(1.1, simulations=1, items=20, rounds=3, seed=4)
    alone, twelfth = (paired_ratio(times[0], dense[0], family=family) for family in (1, 12))
    assert twelfth.low < alone.low < alone.ratio == twelfth.ratio < alone.high < twelfth.high
    assert alone.among(12) == twelfth
    assert twelfth.among(1) == alone
    freedom = degrees_of_freedom(20)
    wider = stats.t.ppf(1 - 0.05 / 24, freedom) / stats.t.ppf(0.975, freedom)
    assert math.log(twelfth.high / twelfth.low) == pytest.approx(wider * math.log(alone.high / alone.low))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50))
def test_the_trimmed_mean_is_scipys(values: list[float]) -> None:
    assert trimmed_mean(np.array(values)) == pytest.approx(stats.trim_mean(values, 0.2), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(MIN_ITEMS, 40), st.integers(1, 4), st.floats(0.2, 5), st.integers(0, 2**32 - 1))
def test_swapping_the_models_inverts_the_ratio(items: int, rounds: int, factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense, times = np.exp(rng.normal(0, 0.1, (2, items, rounds)))
    there, back = paired_ratio(factor * times, dense), paired_ratio(dense, factor * times)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.low < there.ratio < there.high
    assert there.low * back.high == pytest.approx(1, rel=1e-9)
    assert paired_ratio(7 * factor * times, 7 * dense).ratio == pytest.approx(there.ratio)


def test_a_run_cut_short_uses_complete_pairs_only() -> None:
    rng = np.random.default_rng(0)
    dense = np.exp(rng.normal(0, 0.05, (20, 3)))
    times = 1.2 * dense * np.exp(rng.normal(0, 0.01, (20, 3)))
    cut = times.copy()
    cut[:, 2] = np.nan
    cut[12:, 1] = np.nan
    cut[18:, 0] = np.nan
    kept = paired_ratio(cut, dense)
    assert (kept.items, kept.rounds) == (18, 2)
    by_hand = np.concatenate(
        [np.median(np.log(times / dense)[:12, :2], axis=1), np.log(times / dense)[12:18, 0]]
    )
    assert kept.ratio == pytest.approx(math.exp(stats.trim_mean(by_hand, 0.2)))
    in_blocks = paired_ratio(cut, dense, blocks=True)
    assert in_blocks.items == 0, "no round is complete"
    cut[18:, 0] = times[18:, 0]
    assert paired_ratio(cut, dense, blocks=True).rounds == 1


def test_too_few_items_have_a_ratio_but_no_interval() -> None:
    few = paired_ratio(np.full((MIN_ITEMS - 1, 2), 1.1), np.ones((MIN_ITEMS - 1, 2)))
    assert few.ratio == pytest.approx(1.1)
    assert not few.settled
    nothing = paired_ratio(np.full((20, 2), np.nan), np.ones((20, 2)))
    assert nothing.items == nothing.rounds == 0
    assert math.isnan(nothing.ratio)


def test_one_round_of_blocks_has_no_interval() -> None:
    assert not paired_ratio(np.full((20, 1), 1.1), np.ones((20, 1)), blocks=True).settled


@pytest.mark.parametrize(("spread", "low", "high"), [(0.0, 0.6, 1.0), (0.2, 0.0, 0.1)])
def test_the_noise_share_tells_noise_from_items_that_differ(spread: float, low: float, high: float) -> None:
    times, dense = Machine(item_spread=spread).run(1.0, simulations=20, items=40, rounds=4, seed=2)
    shares = [paired_ratio(t, d).noise_share for t, d in zip(times, dense, strict=True)]
    assert low <= np.mean(shares) <= high
