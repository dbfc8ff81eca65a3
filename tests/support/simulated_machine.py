"""A machine with moods: what latency statistics are tested against, a thousand simulated runs at a time.

Times are made in the order in which a real run takes them, so that whatever hangs on the clock (throttling,
interference, autocorrelated noise) hits the models as it would there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from mlx_prune.latency.ratio import estimated, half_width
from mlx_prune.stats.levels import CONFIDENCE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Machine:
    """Everything that disturbs a measurement, on the log scale unless said otherwise.

    Attributes:
        noise: Independent noise of each measurement.
        throttle: How much slower the machine is at the end than at the start, reached along a line.
        step: How much slower it becomes at once, at a random moment of the run.
        wander: Standard deviation of first-order autocorrelated noise...
        memory: ...and its correlation from one measurement to the next.
        stutters: Share of measurements that take up to four times as long.
        interference: Share of the run in which something else runs and all takes half as long again.
        item_spread: How much the true ratio differs between items.
        mood: What a model's every new load does to its speed (blocks only).
    """

    noise: float = 0.02
    throttle: float = 0.0
    step: float = 0.0
    wander: float = 0.0
    memory: float = 0.95
    stutters: float = 0.0
    interference: float = 0.0
    item_spread: float = 0.0
    mood: float = 0.0

    def run(
        self,
        ratio: float,
        *,
        simulations: int,
        items: int,
        rounds: int,
        schedule: str = "interleaved",
        seed: int = 0,
    ) -> tuple[Floats, Floats]:
        """Simulate whole runs of two models.

        Args:
            ratio: True time of the second model over that of the first.
            simulations: Independent runs.
            items: Items per round.
            rounds: Rounds (in blocks: ABBA quadruples).
            schedule: "interleaved" (in turn per item, order drawn at random), "blocks" (ABBA, each value the
                geometric mean of two visits) or "one after the other" (what a naive benchmark does).
            seed: Of everything.

        Returns:
            Times of the second and of the first model, each (simulations, items, rounds).
        """
        rng = np.random.default_rng(seed)
        visits = 2 if schedule == "blocks" else 1
        shape = (simulations, 2, visits, items, rounds)
        lengths = rng.normal(0, 0.3, (simulations, 1, 1, items, 1))
        logs = np.broadcast_to(lengths, shape).copy()
        spread = rng.normal(0, self.item_spread, (simulations, items, 1)) if self.item_spread else 0.0
        logs[:, 1] += (np.log(ratio) + spread)[:, None] if self.item_spread else np.log(ratio)
        if self.mood:
            logs += rng.normal(0, self.mood, (simulations, 2, visits, 1, rounds))
        clock = self._clock(schedule, simulations, items, rounds, rng)
        disturbance = self._disturbance(simulations, 2 * visits * items * rounds, rng)
        logs += np.take_along_axis(disturbance, clock.reshape(simulations, -1), axis=1).reshape(shape)
        logs = logs.mean(axis=2)
        return np.exp(logs[:, 1]), np.exp(logs[:, 0])

    def _disturbance(self, simulations: int, length: int, rng: np.random.Generator) -> Floats:
        """(simulations, length): what the machine adds to the log of each measurement, in order of time."""
        when = np.linspace(0, 1, length)
        logs = rng.normal(0, self.noise, (simulations, length)) + np.log1p(self.throttle) * when
        if self.step:
            logs += np.log1p(self.step) * (when > rng.random((simulations, 1)))
        if self.wander:
            shocks = rng.normal(0, self.wander * np.sqrt(1 - self.memory**2), (simulations, length))
            shocks[:, 0] = rng.normal(0, self.wander, simulations)
            logs += lfilter([1], [1, -self.memory], shocks, axis=1)
        if self.stutters:
            hit = rng.random((simulations, length)) < self.stutters
            logs += hit * np.log(rng.uniform(1.2, 4, (simulations, length)))
        if self.interference:
            start = rng.random((simulations, 1)) * (1 - self.interference)
            logs += np.log(1.5) * ((when > start) & (when < start + self.interference))
        return logs

    @staticmethod
    def _clock(
        schedule: str, simulations: int, items: int, rounds: int, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """(simulations, model, visit, item, round): the place of each measurement in the run."""
        if schedule == "one after the other":
            place = np.arange(2 * items * rounds).reshape(2, 1, rounds, items).swapaxes(2, 3)
            return np.broadcast_to(place, (simulations, 2, 1, items, rounds))
        order = rng.permuted(np.broadcast_to(np.arange(items), (simulations, rounds, items)), axis=2)
        position = np.argsort(order, axis=2).swapaxes(1, 2)
        of_round = np.arange(rounds)
        if schedule == "blocks":
            block = np.array([[0, 3], [1, 2]])[None, :, :, None, None]
            inside = position[:, None, None]
            return (of_round * 4 + block) * items + inside
        first = rng.integers(0, 2, (simulations, items, rounds))
        slot = np.stack([first, 1 - first], axis=1)[:, :, None]
        return (of_round * items + position)[:, None, None] * 2 + slot


def ratio_interval(
    logs: np.ndarray, *, blocks: bool = False, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, lower and upper end of log ratios of many runs at once, (runs, items, rounds)."""
    estimate, errors = estimated(logs, blocks)
    half = half_width(errors, confidence)
    return estimate, estimate - half, estimate + half
