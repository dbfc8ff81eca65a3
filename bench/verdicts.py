"""How often verdicts on latency are false, and how often they find what is there, on a simulated machine.

python bench/verdicts.py [--runs 1000] [--only studies|runs|machines|power|levels]
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from _common import table
from simulated_runs import (
    Claims,
    Machine,
    claims_of_run,
    claims_of_study,
    simulate,
    simulate_study,
)

from mlx_prune.latency.family import LatencyRow
from mlx_prune.latency.ratio import (
    PairedRatio,
    critical_value,
    degrees_of_freedom,
    trimmed_error,
    trimmed_mean,
)
from mlx_prune.latency.verdict import SLOWER, verdict

EQUAL = 12
# Moods as of a laptop that is used for something else, too.
LAPTOP = Machine(noise=0.1, wander=0.05, stutters=0.05)
MACHINES = {
    "quiet": Machine(0.02),
    "noise of 20 %": Machine(0.2),
    "stutters (30 %)": Machine(0.02, stutters=0.3),
    "throttles (8 %), wanders": Machine(0.05, throttle=0.08, wander=0.1),
    "items differ by 3 %": Machine(0.05, spread=0.03),
}


def studies(runs: int) -> None:
    """Studies of equal models, each timed in a run of its own."""
    rows = []
    for noise in (0.05, 0.1, 0.2):
        found, before = [], 0
        for seed in range(runs):
            latencies = simulate_study(Machine(noise, wander=0.03), [1.0] * EQUAL, seed=seed)
            found.append(claims_of_study(latencies))
            before += any(_alone(row) for row in latencies)
        rows.append([f"noise of {100 * noise:g} %", *_shares(found), _percent(before / runs)])
    table(
        f"{runs} studies of {EQUAL} equal models, 20 items x 3 rounds",
        ["", *_CLAIMS, "each at 95 % alone, without a margin"],
        rows,
    )


def _alone(row: LatencyRow) -> bool:
    """Whether one comparison's own 95 % interval leaves the margin's range and misses 1: the earlier rule."""
    alone = PairedRatio(row.ratio, 0, 0, 0.95, 20, 3, 1.0, errors=row.errors).among(1)
    return not (alone.low > 1 / 1.05 and alone.high < 1.05) and (alone.low > 1 or alone.high < 1)


def commands(runs: int) -> None:
    """``bench A A``, all measures together."""
    rows = []
    for name, options in (
        ("8 items x 2 rounds", {"items": 8, "rounds": 2}),
        ("20 x 3", {"items": 20, "rounds": 3}),
        ("40 x 5", {"items": 40, "rounds": 5}),
        ("20 x 3, two workloads", {"items": 20, "rounds": 3, "workloads": 2}),
        ("24 x 2, blocks", {"items": 24, "rounds": 2, "schedule": "blocks"}),
        ("24 x 5, blocks", {"items": 24, "rounds": 5, "schedule": "blocks"}),
    ):
        machine = dataclasses.replace(LAPTOP, mood=0.03) if "schedule" in options else LAPTOP
        rows.append(
            [name, *_shares(_runs(runs, lambda s, m=machine, o=options: simulate(m, (1, 1), seed=s, **o)))]
        )
    table(f"{runs} times bench A A, all measures together", ["", *_CLAIMS], rows)


def machines(runs: int) -> None:
    """Four equal models in one command, on machines of many kinds."""
    rows = []
    for name, machine in MACHINES.items():
        for items, rounds in ((8, 2), (20, 3)):

            def one(seed: int, m: Machine = machine, i: int = items, r: int = rounds) -> object:
                return simulate(m, (1, 1, 1, 1), items=i, rounds=r, seed=seed)

            rows.append([f"{name}, {items} x {rounds}", *_shares(_runs(runs, one))])
    table(f"{runs} times bench of four equal models, nine comparisons", ["", *_CLAIMS], rows)


def power(runs: int) -> None:
    """How often a true difference of 10 % is found."""
    rows = []
    for noise in (0.05, 0.1, 0.2):
        for items, rounds in ((20, 3), (40, 5), (100, 10)):
            words = {"bench": 0, "study": 0}
            for seed in range(runs):
                result = simulate(
                    Machine(noise, wander=0.03), (1, 1.1), items=items, rounds=rounds, seed=seed
                )
                total = result.rows[1].comparisons["total"]
                among = verdict(total.ratio.among(EQUAL), drift=result.run_drift)
                words["bench"] += total.verdict.word == SLOWER
                words["study"] += among.word == SLOWER
            shares = [_percent(words[kind] / runs) for kind in words]
            rows.append([f"noise of {100 * noise:g} %, {items} x {rounds}", *shares])
    table(
        f"{runs} runs with a model 10 % slower: called slower",
        ["", "bench of two models", f"in a study of {EQUAL}"],
        rows,
    )


def levels(runs: int) -> None:
    """Whether far quantiles are kept, and what resampling signs jointly would give instead."""
    rng = np.random.default_rng(0)
    rows = []
    for items in (8, 12, 20, 40):
        values = rng.normal(size=(400 * runs, items))
        t = np.abs(trimmed_mean(values)) / trimmed_error(values)
        missed = [
            np.mean(t > critical_value(degrees_of_freedom(items), 0.95, family)) * family
            for family in (1, 12, 36)
        ]
        points = []
        for measures in (3, 36):
            flipped = np.mean([_sign_flips(rng, items, measures) for _ in range(20)])
            points.append(f"{critical_value(degrees_of_freedom(items), 0.95, measures):.2f} / {flipped:.2f}")
        rows.append([f"{items} items", *map(_percent, missed), *points])
    table(
        "Misses under normal noise times the family; half-width in standard errors, ours / joint sign flips",
        ["", "1", "12", "36", "3 measures of one model", "36: twelve models"],
        rows,
    )


def _sign_flips(rng: np.random.Generator, items: int, comparisons: int, draws: int = 1000) -> float:
    """95 % point of the largest |t| when all comparisons of an item flip their sign together.

    Measures of one model share half of their variance, and models share the dense model's times.
    """
    models = comparisons // 3
    noise = (
        rng.normal(size=(1, 1, items))
        + rng.normal(size=(models, 1, items))
        + rng.normal(size=(models, 3, items))
    )
    values = noise.reshape(comparisons, items)
    centered = values - trimmed_mean(values)[:, None]
    largest = np.zeros(draws)
    signs = rng.choice([-1.0, 1.0], (draws, items))
    for row in centered:
        flipped = signs * row
        largest = np.maximum(largest, np.abs(trimmed_mean(flipped)) / trimmed_error(flipped))
    return float(np.quantile(largest, 0.95))


_CLAIMS = ("any faster or slower", "any not exactly 1", "any interval misses 1")


def _runs(runs: int, one: Callable[[int], object]) -> Iterator[Claims]:
    return (claims_of_run(one(seed)) for seed in range(runs))  # type: ignore[arg-type]


def _shares(found: Iterator[Claims] | list[Claims]) -> list[str]:
    kept = [dataclasses.astuple(claims) for claims in found]
    return [_percent(share) for share in np.mean(kept, axis=0)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    """Run what was asked for."""
    parts = {"studies": studies, "runs": commands, "machines": machines, "power": power, "levels": levels}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", choices=parts)
    options = parser.parse_args()
    for name, part in parts.items():
        if options.only in (None, name):
            part(options.runs)


if __name__ == "__main__":
    main()
