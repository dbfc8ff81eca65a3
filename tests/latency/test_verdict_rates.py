"""A short version of bench/verdicts.py: equal models are not called faster or slower, a difference is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mlx_prune.latency.verdict import OPEN, SLOWER

SCRIPT = Path(__file__).parents[2] / "bench" / "simulated_runs.py"


@pytest.fixture(scope="module")
def simulated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulated_runs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules["simulated_runs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_a_study_of_twelve_equal_models_calls_none_faster_or_slower(
    simulated: ModuleType, noise: float
) -> None:
    machine = simulated.Machine(noise, wander=0.03)
    found = [
        simulated.claims_of_study(simulated.simulate_study(machine, [1.0] * 12, seed=s)) for s in range(25)
    ]
    # At most 5 % of studies, so more than 5 of 25 once in a thousand.
    assert sum(claims.different for claims in found) == 0
    assert sum(claims.inexact for claims in found) <= 5
    assert sum(claims.missed for claims in found) <= 5


@pytest.mark.parametrize(
    "options",
    [
        {"items": 8, "rounds": 2},
        {"items": 20, "rounds": 3, "workloads": 2},
        {"items": 12, "rounds": 2, "schedule": "blocks"},
    ],
    ids=str,
)
def test_a_model_against_itself_is_not_called_faster_or_slower_in_any_measure(
    simulated: ModuleType, options: dict[str, object]
) -> None:
    machine = simulated.Machine(0.1, wander=0.05, stutters=0.05, mood=0.03 if "schedule" in options else 0.0)
    found = [
        simulated.claims_of_run(simulated.simulate(machine, (1, 1), seed=s, **options)) for s in range(60)
    ]
    assert sum(claims.different for claims in found) == 0
    # At most 5 %, so more than 9 of 60 once in a thousand.
    assert sum(claims.missed for claims in found) <= 9


def test_a_model_that_is_a_tenth_slower_is_found_with_pairs_enough(simulated: ModuleType) -> None:
    words = []
    for items, rounds in ((12, 2), (60, 6)):
        runs = [
            simulated.simulate(simulated.Machine(0.1), (1, 1.1), items=items, rounds=rounds, seed=s)
            for s in range(20)
        ]
        words.append([run.rows[1].comparisons["total"].verdict.word for run in runs])
    few, many = words
    assert few.count(OPEN) >= 12
    assert many.count(SLOWER) >= 17
