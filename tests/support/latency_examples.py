"""Latency results made up from known numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_prune.latency.facts import ModelFacts, RunSettings, Workload
from mlx_prune.latency.power import PowerState
from mlx_prune.latency.result import BenchResult
from mlx_prune.latency.samples import Sample, Samples


def made_up_samples(
    ratios: tuple[float, ...],
    items: int,
    rounds: int,
    *,
    new_tokens: int = 5,
    visits: int = 1,
    noise: float = 0.01,
    drift_per_s: float = 0.0,
    seed: int = 0,
) -> list[Sample]:
    """Models whose times are `ratios` times 100 ms (80 to the first token), one measurement per 0.1 s."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(rounds):
        for item in range(items):
            for visit in range(visits):
                for model in rng.permutation(len(ratios)).tolist():
                    now = 0.1 * len(found)
                    scale = (
                        ratios[model] * np.exp(rng.normal(0, noise) + drift_per_s * now) * (1 + 0.01 * item)
                    )
                    rest = 0.02 * scale if new_tokens > 1 else 0.0
                    found.append(
                        Sample(model, item, number, visit, now, 0.08 * scale, rest, new_tokens, 1000 + item)
                    )
    return found


def made_up_result(
    ratios: tuple[float, ...] = (1.0, 1.2, 1.0),
    *,
    items: int = 20,
    rounds: int = 3,
    workloads: int = 1,
    schedule: str = "interleaved",
    new_tokens: int = 5,
    drop: int = 0,
    names: tuple[str, ...] = ("dense", "out/wanda-s50", "out/magnitude-s50"),
    bitmask: tuple[int, ...] = (),
    **options: Any,
) -> BenchResult:
    """A result over made-up samples, the last `drop` of them lost."""
    visits = 2 if schedule == "blocks" else 1
    samples = made_up_samples(
        ratios, items * workloads, rounds, new_tokens=new_tokens, visits=visits, **options
    )
    loads = tuple(
        Workload(f"p{100 * (w + 1)}", w * items, items, ((100 * (w + 1),) * items,) * len(ratios), new_tokens)
        for w in range(workloads)
    )
    models = tuple(
        ModelFacts(
            name,
            name,
            f"models/{name}",
            "wanda 50.0 %" if i else "",
            "float32",
            0.5,
            10**6,
            10**6,
            5 * 10**5,
            bitmask_bytes=bitmask[i] if bitmask else None,
        )
        for i, name in enumerate(names[: len(ratios)])
    )
    return BenchResult(
        RunSettings(schedule, rounds, 0.0, 0.05),
        models,
        loads,
        Samples.of(samples[: len(samples) - drop]),
        interrupted=drop > 0,
        started="2026-01-02T03:04:05+00:00",
        conditions=(PowerState("AC", load=0.5),),
        versions={"mlx": "0.1", "mlx-lm": "0.2"},
        device={"machine": "Some Machine", "backend": "cpu"},
    )
