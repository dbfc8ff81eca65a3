"""Verdicts: error rates on a simulated machine, and advice that comes true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated_machine import Machine, ratio_interval

from mlx_prune.latency.ratio import PairedRatio, log_ratios, paired_ratio
from mlx_prune.latency.verdict import Verdict, verdict, within
from mlx_prune.latency.verdict import words as all_words

NOISY = Machine(noise=0.1, wander=0.1, stutters=0.05, throttle=0.3)
QUIET = Machine(noise=0.02, wander=0.05, stutters=0.03, throttle=0.3)


def words(machine: Machine, ratio: float, runs: int, items: int, rounds: int, seed: int = 0) -> list[str]:
    times, dense = machine.run(ratio, simulations=runs, items=items, rounds=rounds, seed=seed)
    estimate, low, high = np.exp(ratio_interval(log_ratios(times, dense)))
    return [
        verdict(PairedRatio(e, lo, hi, 0.95, items, rounds, 1.0)).word
        for e, lo, hi in zip(estimate, low, high, strict=True)
    ]


@pytest.mark.parametrize("machine", [NOISY, QUIET], ids=["noisy", "quiet"])
@pytest.mark.parametrize(("items", "rounds"), [(40, 5), (20, 3)])
def test_a_model_against_itself_is_rarely_faster_or_slower(machine: Machine, items: int, rounds: int) -> None:
    found = words(machine, 1.0, 2000, items, rounds, seed=rounds)
    # Of one comparison alone, whose whole interval would have to lie beyond the margin.
    assert (found.count("faster") + found.count("slower")) / 2000 <= 0.01
    # Nominal: the interval misses 1 in 5 % of all runs; 2000 give more than 6.6 % once in a thousand.
    assert found.count(within()) / 2000 <= 0.066
    assert set(found) <= set(all_words())
    if machine is QUIET:
        assert found.count("same") > 1850


@pytest.mark.parametrize("ratio", [1.05, 1 / 1.05])
def test_a_difference_as_large_as_the_margin_is_rarely_called_the_same(ratio: float) -> None:
    found = words(QUIET, ratio, 2000, 40, 5)
    assert (found.count("same") + found.count(within())) / 2000 <= 0.04
    assert (found.count("faster") + found.count("slower")) / 2000 <= 0.04


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.15, "slower"), (0.85, "faster"), (1.0, "same"), (1.02, within())]
)
def test_a_clear_case_is_settled(ratio: float, word: str) -> None:
    assert words(QUIET, ratio, 500, 40, 5).count(word) >= 465


@pytest.mark.parametrize(
    ("low", "ratio", "high", "word"),
    [
        (0.97, 1.0, 1.03, "same"),
        (0.97, 0.98, 0.99, within()),
        (1.001, 1.02, 1.04, within()),
        (0.90, 0.93, 0.97, "open"),
        (0.90, 0.93, 0.951, "faster"),
        (1.01, 1.05, 1.09, "open"),
        (1.051, 1.06, 1.09, "slower"),
        (0.90, 1.0, 1.10, "open"),
        (0.94, 1.0, 1.04, "open"),
    ],
)
def test_the_verdict_is_read_off_the_interval(low: float, ratio: float, high: float, word: str) -> None:
    assert verdict(PairedRatio(ratio, low, high, 0.95, 20, 3, 1.0)).word == word


def test_a_wider_margin_calls_more_the_same() -> None:
    ratio = PairedRatio(1.06, 1.03, 1.09, 0.95, 20, 3, 1.0)
    assert verdict(ratio).word == "open"
    assert verdict(ratio, margin=0.02).word == "slower"
    assert verdict(ratio, margin=0.1).word == "within 10 %, not exactly 1"


@pytest.mark.parametrize(
    ("drift", "word"), [(0.09, "slower"), (0.11, "open"), (-0.11, "open"), (math.nan, "slower")]
)
def test_a_run_that_drifted_beyond_its_limit_settles_nothing(drift: float, word: str) -> None:
    found = verdict(PairedRatio(1.5, 1.4, 1.6, 0.95, 20, 3, 1.0), drift=drift)
    assert found.word == word
    assert (found.reason != "") == (word == "open")


def test_the_rounds_asked_for_settle_the_case() -> None:
    times, dense = NOISY.run(1.0, simulations=300, items=20, rounds=3, seed=9)
    first = [verdict(paired_ratio(t, d)) for t, d in zip(times, dense, strict=True)]
    unsettled = [v for v in first if v.word == "open"]
    advice = [v.more_rounds for v in unsettled if v.more_rounds is not None]
    assert min(advice) >= 1
    assert len(advice) > 0.95 * len(unsettled), "nothing but noise, so more rounds help"
    rounds = 3 + int(np.median(advice))
    settled = words(NOISY, 1.0, 300, 20, rounds, seed=10)
    assert settled.count("open") < 150 < 200 < len(unsettled)


def test_items_are_asked_for_where_rounds_would_not_help() -> None:
    wide = PairedRatio(1.0, 0.9, 1 / 0.9, 0.95, 20, 5, noise_share=0.01)
    assert verdict(wide).more_rounds is None
    needed = 20 * (math.log(1 / 0.9) / math.log(1.05)) ** 2
    assert verdict(wide).more_items == math.ceil(needed) - 20
    few = PairedRatio(1.0, math.nan, math.nan, 0.95, 5, 5, 1.0)
    assert str(verdict(few)) == "open, run 3 more items"


def test_the_advice_reads_as_a_sentence() -> None:
    assert str(verdict(PairedRatio(1.05, 1.0, 1.1, 0.95, 20, 3, 1.0))) == "open, too near the margin to tell"
    assert str(Verdict("open", more_rounds=1)) == "open, run 1 more round"
    assert str(Verdict("open", more_rounds=1200)) == "open, run 1,200 more rounds"
    assert str(Verdict("same")) == "same"
