"""Latency runs of a simulated machine, summarized by the very code that summarizes real ones.

Times are made in the order in which a real run takes them, so that whatever hangs on the clock hits the
models as it would there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import lfilter

from mlx_prune.latency.facts import ModelFacts, RunSettings, Workload
from mlx_prune.latency.family import LatencyRow, together
from mlx_prune.latency.plan import block_round, interleaved_round, item_order
from mlx_prune.latency.result import BenchResult
from mlx_prune.latency.samples import Samples
from mlx_prune.latency.verdict import FASTER, SLOWER, within

MEMORY = 0.95  # correlation of the wandering from one measurement to the next
TOKENS = 5


@dataclass(frozen=True)
class Machine:
    """What disturbs a measurement, as standard deviations of logarithms unless said otherwise.

    Attributes:
        noise: Independent noise, three quarters of its variance common to both parts of an answer.
        throttle: How much slower the machine is at the end than at the start, as a fraction.
        wander: Autocorrelated noise.
        stutters: Share of measurements that take up to four times as long.
        spread: How much the true ratio differs between items.
        mood: What every block of a model does to its speed.
    """

    noise: float
    throttle: float = 0.0
    wander: float = 0.0
    stutters: float = 0.0
    spread: float = 0.0
    mood: float = 0.0


def simulate(
    machine: Machine,
    ratios: Sequence[float],
    *,
    items: int,
    rounds: int,
    workloads: int = 1,
    schedule: str = "interleaved",
    seed: int = 0,
) -> BenchResult:
    """One run of models whose true times are ``ratios``, dense first."""
    rng = np.random.default_rng(seed)
    places = np.array(list(_order(len(ratios), items * workloads, rounds, schedule, seed)))
    model, item, number, visit = places.T
    blocks = rng.normal(0, machine.mood, (len(ratios), rounds, 2))
    differing = rng.normal(0, machine.spread, (len(ratios), items * workloads))
    differing[0] = 0
    logs = (
        rng.normal(0, 0.3, items * workloads)[item]
        + np.log(ratios)[model]
        + differing[model, item]
        + blocks[model, number, visit]
        + _course(machine, len(places), rng)
    )
    own = rng.normal(0, machine.noise / 2, (2, len(places)))
    samples = Samples(
        model,
        item,
        number,
        visit,
        started_s=0.1 * np.arange(len(places)),
        ttft_s=0.06 * np.exp(logs + own[0]),
        rest_s=0.04 * np.exp(logs + own[1]),
        new_tokens=np.full(len(places), TOKENS),
        extra_bytes=np.zeros(len(places), np.int64),
    )
    loads = tuple(
        Workload(f"p{load}", load * items, items, ((100,) * items,) * len(ratios), TOKENS)
        for load in range(workloads)
    )
    facts = tuple(ModelFacts(f"m{i}", f"m{i}", "", "", "float32", None, 1) for i in range(len(ratios)))
    return BenchResult(RunSettings(schedule, rounds, 0.0, 0.05, seed=seed), facts, loads, samples)


def simulate_study(
    machine: Machine, ratios: Sequence[float], *, items: int = 20, rounds: int = 3, seed: int = 0
) -> list[LatencyRow]:
    """A study that times each model against its dense one in a run of its own; its latency rows."""
    made = (
        simulate(machine, (1.0, ratio), items=items, rounds=rounds, seed=seed * len(ratios) + number)
        for number, ratio in enumerate(ratios)
    )
    return together(LatencyRow.of(result) for result in made)


@dataclass(frozen=True)
class Claims:
    """What one run or study claims of models that are equal.

    Attributes:
        different: Whether anything is called faster or slower.
        inexact: Whether anything is said not to be exactly 1, those included.
        missed: Whether any interval misses 1.
    """

    different: bool
    inexact: bool
    missed: bool

    @classmethod
    def of(cls, found: Sequence[tuple[str, float, float]]) -> Claims:
        """From (verdict, low, high) of every comparison."""
        words = {word for word, _, _ in found}
        different = bool(words & {FASTER, SLOWER})
        missed = any(low > 1 or high < 1 for _, low, high in found)
        return cls(different, different or within() in words, missed)


def claims_of_run(result: BenchResult) -> Claims:
    """Of all comparisons of one command."""
    compared = [one for row in result.rows for one in row.comparisons.values()]
    return Claims.of([(one.verdict.word, one.ratio.low, one.ratio.high) for one in compared])


def claims_of_study(rows: Sequence[LatencyRow]) -> Claims:
    """Of all configurations of one study."""
    return Claims.of([(row.verdict, row.low, row.high) for row in rows])


def _order(
    models: int, items: int, rounds: int, schedule: str, seed: int
) -> Iterator[tuple[int, int, int, int]]:
    """(model, item, round, visit) in the order of a real run."""
    for number in range(rounds):
        if schedule == "interleaved":
            for item, model in interleaved_round(models, items, number, seed):
                yield model, item, number, 0
            continue
        for block, (visit, model) in enumerate(block_round(models)):
            for item in item_order(items, number, block, seed):
                yield model, item, number, visit


def _course(machine: Machine, length: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """What the machine adds to the logarithm of each measurement, in order of time."""
    logs = rng.normal(0, machine.noise * np.sqrt(0.75), length)
    logs += np.log1p(machine.throttle) * np.linspace(0, 1, length)
    shocks = rng.normal(0, machine.wander * np.sqrt(1 - MEMORY**2), length)
    logs += lfilter([1], [1, -MEMORY], shocks)
    hit = rng.random(length) < machine.stutters
    return np.asarray(logs + hit * np.log(rng.uniform(1.2, 4, length)))
