"""A latency result as a picture: paired differences, and how each model's times moved over the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mlx_prune.latency.result import BenchResult, Row
from mlx_prune.report.figures.draw import render
from mlx_prune.report.figures.style import (
    AMBER,
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    PINK,
    VERMILION,
    WIDE,
    look,
    new_figure,
)
from mlx_prune.store import write_atomically
from mlx_prune.words import percent

# The dense model in gray; more models than colors begin anew, in the order of the legend.
_MODELS = (MUTED, BLUE, VERMILION, GREEN, PINK, AMBER)


def save_latency_plot(result: BenchResult, folder: Path) -> list[Path]:
    """Draw the paired differences of a run.

    Left, one line per model and workload: each item's difference from the dense model (median over rounds),
    the typical difference with its interval, and the margin in gray. Right: every measurement over time,
    relative to the median of its item and model, so that drift and stutters show.

    Args:
        result: What to draw; it must hold at least one complete pair.
        folder: Where ``latency.png`` and ``latency.svg`` go; created if absent.

    Returns:
        The two paths, or none if there is nothing to draw.
    """
    rows = [row for row in result.rows if row.comparisons and row.comparisons["total"].ratio.items]
    if not rows:
        return []
    paths = [folder / "latency.png", folder / "latency.svg"]
    with look():
        figure = new_figure(WIDE, 2.4 + 0.5 * len(rows))
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_differences(left, result, rows)
        _draw_course(right, result)
    for path in paths:
        write_atomically(path, render(figure, path.suffix.removeprefix(".")))
    return paths


def _draw_differences(axes: Any, result: BenchResult, rows: list[Row]) -> None:
    margin = 100 * result.settings.margin
    axes.axvspan(100 / (1 + result.settings.margin) - 100, margin, color=GRID.light, alpha=0.6, zorder=0)
    axes.axvline(0, color=MUTED.light, linewidth=0.8, zorder=1)
    jitter = np.random.default_rng(0)
    names, reach = [], margin
    for place, row in enumerate(rows):
        cube = result.paired_times("total", row.workload)
        logs = np.log(cube[row.model] / cube[0])
        per_item = np.nanmedian(logs[~np.isnan(logs).all(axis=1)], axis=1)
        differences = 100 * np.expm1(per_item)
        height = place + jitter.uniform(-0.22, 0.22, len(differences))
        axes.scatter(differences, height, s=11, color=BLUE.light, alpha=0.55, linewidths=0, zorder=2)
        compared = row.comparisons["total"]
        ratio = compared.ratio
        center = 100 * (ratio.ratio - 1)
        if ratio.settled:
            ends = [100 * (ratio.low - 1), 100 * (ratio.high - 1)]
            axes.plot(ends, [place, place], color=INK.light, linewidth=2, solid_capstyle="butt", zorder=3)
            reach = max(reach, abs(ends[0]), abs(ends[1]))
        axes.plot([center], [place], "D", color=INK.light, markersize=5, zorder=4)
        reach = max(reach, abs(center), float(np.quantile(np.abs(differences), 0.9)))
        label = result.models[row.model].label
        if len(result.workloads) > 1:
            label += f", {result.workloads[row.workload].name}"
        names.append(f"{_short(label)}\n{compared.verdict.word.replace(', ', ',' + chr(10))}")
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-1.15 * reach, 1.15 * reach)
    axes.set_xlabel(
        f"total time against {_short(result.models[0].label)} (%), per item; bar: simultaneous "
        f"{percent(result.settings.confidence, None)} interval"
    )
    axes.set_title("Paired differences")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _draw_course(axes: Any, result: BenchResult) -> None:
    samples = result.samples
    total = samples.times("total")
    least = most = 1.0
    for model, facts in enumerate(result.models):
        own = np.flatnonzero(samples.model == model)
        if not len(own):
            continue
        relative = np.empty(len(own))
        for item in np.unique(samples.item[own]):
            same = samples.item[own] == item
            relative[same] = total[own][same] / np.median(total[own][same])
        least, most = min(least, relative.min()), max(most, relative.max())
        drift = result.drift[model]
        known = f", drift {percent(drift, 0, sign=True)}" if math.isfinite(drift) else ""
        axes.scatter(
            samples.started_s[own],
            relative,
            s=5,
            alpha=0.55,
            linewidths=0,
            color=_MODELS[model % len(_MODELS)].light,
            label=f"{_short(facts.label)}{known}",
        )
    axes.axhline(1, color=MUTED.light, linewidth=0.8, zorder=0)
    if max(most, 1 / least) > 2:
        # Stutters take a multiple of the time.
        axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"x {value:g}")
    axes.set_xlabel("seconds into the run")
    axes.set_ylabel("time against the item's median")
    axes.set_title("Over the run")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), handlelength=1, markerscale=2)


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-(longest // 2) :]}"
