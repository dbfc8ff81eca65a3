"""From single measurements to rows, verdicts, drift and warnings.

Needs no MLX: a result read back from its file is computed from the same measurements in the same way.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from mlx_prune.errors import DataError
from mlx_prune.json_files import read_object
from mlx_prune.latency.drift import DRIFT_LIMIT, fitted_drift
from mlx_prune.latency.power import PowerState
from mlx_prune.latency.ratio import paired_ratio
from mlx_prune.latency.result import (
    FORMAT,
    KIND,
    BenchResult,
    Comparison,
    ModelFacts,
    Row,
    Settings,
    Spread,
    Workload,
)
from mlx_prune.latency.samples import METRICS, Samples
from mlx_prune.latency.verdict import verdict


def summarize(
    samples: Samples,
    settings: Settings,
    models: tuple[ModelFacts, ...],
    workloads: tuple[Workload, ...],
    **about: Any,
) -> BenchResult:
    """Compute rows, drift and warnings of a run, complete or cut short.

    Args:
        samples: What was measured.
        settings: How.
        models: Dense first.
        workloads: What the items are.
        **about: Further fields of :class:`BenchResult`, recorded as they are.

    Returns:
        The result.
    """
    drift = tuple(
        fitted_drift(samples.started_s[own], samples.times("total")[own], samples.item[own])
        for own in (samples.model == m for m in range(len(models)))
    )
    bare = BenchResult(settings, models, workloads, (), drift, (), samples, _run_drift(samples), **about)
    rows = tuple(_row(bare, m, w) for w in range(len(workloads)) for m in range(len(models)))
    return dataclasses.replace(bare, rows=rows, warnings=tuple(_warnings(bare)))


def _run_drift(samples: Samples) -> float:
    """Drift of the machine, which is one: from all measurements, each against others of its model and item.

    NaN where nothing was measured twice: then how items and models differ would be taken for drift.
    """
    _, alike, times = np.unique(
        np.stack([samples.model, samples.item]), axis=1, return_inverse=True, return_counts=True
    )
    repeated = (times > 1)[alike.ravel()]
    if not repeated.any():
        return math.nan
    return fitted_drift(
        samples.started_s[repeated], samples.times("total")[repeated], alike.ravel()[repeated]
    )


def _metrics(load: Workload) -> tuple[str, ...]:
    """What is compared; a single token has no further ones."""
    return tuple(metric for metric in METRICS if metric != "per_token" or load.new_tokens > 1)


def _family(run: BenchResult) -> int:
    """Comparisons of the run, which share one level."""
    return (len(run.models) - 1) * sum(len(_metrics(load)) for load in run.workloads)


def _row(run: BenchResult, model: int, workload: int) -> Row:
    load = run.workloads[workload]
    samples = run.samples
    own = (samples.model == model) & np.isin(samples.item, np.array(load.indices))
    lengths = np.array(load.prompt_tokens[model], float)[samples.item[own] - load.first]
    times = {metric: samples.times(metric)[own] for metric in METRICS}
    comparisons = {}
    if model > 0:
        for metric in _metrics(load):
            cube = run.paired_times(metric, workload)
            ratio = paired_ratio(
                cube[model],
                cube[0],
                blocks=run.blocks,
                confidence=run.settings.confidence,
                family=_family(run),
            )
            found = verdict(ratio, run.settings.margin, drift=run.run_drift)
            comparisons[metric] = Comparison(ratio, found)
    per_token = Spread.of(times["per_token"])
    return Row(
        model,
        workload,
        int(own.sum()),
        {"total": Spread.of(times["total"]), "ttft": Spread.of(times["ttft"]), "per_token": per_token},
        float(np.median(lengths / times["ttft"])) if own.any() else math.nan,
        1e3 / per_token.median_ms,
        run.models[model].memory_bytes + int(samples.extra_bytes[own].max(initial=0)),
        comparisons,
    )


def _warnings(run: BenchResult) -> list[str]:
    found = []
    if run.interrupted:
        found.append("The run was interrupted; only complete pairs are compared.")
    if abs(run.run_drift) > DRIFT_LIMIT:
        word = "slower" if run.run_drift > 0 else "faster"
        found.append(
            f"The machine became {100 * abs(run.run_drift):.0f} % {word} during the run, more than the "
            f"{100 * DRIFT_LIMIT:g} % beyond which nothing is settled; let it rest, or set a longer cooldown."
        )
    for load in run.workloads:
        for facts, lengths in zip(run.models[1:], load.prompt_tokens[1:], strict=True):
            if lengths != load.prompt_tokens[0]:
                found.append(
                    f"{facts.label} splits the {load.name} prompts into other numbers of tokens "
                    f"than {run.models[0].label}."
                )
    if len({facts.dtype for facts in run.models}) > 1:
        types = ", ".join(f"{facts.label} {facts.dtype}" for facts in run.models)
        found.append(f"The models compute in different types: {types}.")
    for complaint in _complaints(run):
        found.append(f"During the run, {complaint}.")
    return found


def _complaints(run: BenchResult) -> list[str]:
    """What was wrong with power and heat at the start of any round, each said once."""
    said = [text for state in run.conditions for text in PowerState(**state).complaints()]
    return list(dict.fromkeys(said))


def is_result(path: Path) -> bool:
    """Whether a file is a :class:`BenchResult` of any version."""
    try:
        return read_object(path, DataError, "measure again").get("kind") == KIND
    except DataError:
        return False


def read_result(path: Path) -> BenchResult:
    """Read a ``latency.json``; statistics are computed anew from its measurements.

    Raises:
        DataError: If it is not such a file.
    """
    data = read_object(path, DataError, "measure again")
    try:
        if data.get("kind") != KIND or data.get("format") != FORMAT:
            raise DataError(f"{path} is not a latency result of this version; measure again.")
        workloads = tuple(
            Workload(**{**w, "prompt_tokens": tuple(tuple(lengths) for lengths in w["prompt_tokens"])})
            for w in data["workloads"]
        )
        return summarize(
            Samples.from_columns(data["samples"]),
            Settings(**data["settings"]),
            tuple(ModelFacts(**facts) for facts in data["models"]),
            workloads,
            interrupted=data["interrupted"],
            started=data["started"],
            conditions=tuple(data["conditions"]),
            versions=data["versions"],
            device=data["device"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise DataError(f"{path} is not a readable latency result ({error}); measure again.") from error
