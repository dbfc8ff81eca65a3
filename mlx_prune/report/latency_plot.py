"""A latency result as a picture: paired differences, and how each model's times moved over the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mlx_prune.measures.latency_result import BenchResult, Row

_DOTS, _INTERVAL, _MARGIN = "#7aa6c2", "#1b1b1b", "#e9eef2"
# Okabe and Ito's palette: told apart without color vision.
_MODELS = ("#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")


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
    import matplotlib as mpl
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "latency.png", folder / "latency.svg"]
    style = {"font.size": 9, "svg.hashsalt": "mlx-prune", "svg.fonttype": "none"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(12, 1.9 + 0.5 * len(rows)), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_differences(left, result, rows)
        _draw_course(right, result)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=150, metadata=metadata)
    return paths


def _draw_differences(axes: Any, result: BenchResult, rows: list[Row]) -> None:
    margin = 100 * result.settings.margin
    axes.axvspan(100 / (1 + result.settings.margin) - 100, margin, color=_MARGIN, zorder=0)
    axes.axvline(0, color="#999999", linewidth=0.8, zorder=1)
    jitter = np.random.default_rng(0)
    names, reach = [], margin
    for place, row in enumerate(rows):
        cube = result.paired_times("total", row.workload)
        logs = np.log(cube[row.model] / cube[0])
        per_item = np.nanmedian(logs[~np.isnan(logs).all(axis=1)], axis=1)
        percent = 100 * np.expm1(per_item)
        height = place + jitter.uniform(-0.22, 0.22, len(percent))
        axes.scatter(percent, height, s=11, color=_DOTS, alpha=0.75, linewidths=0, zorder=2)
        compared = row.comparisons["total"]
        ratio = compared.ratio
        center = 100 * (ratio.ratio - 1)
        if ratio.settled:
            ends = [100 * (ratio.low - 1), 100 * (ratio.high - 1)]
            axes.plot(ends, [place, place], color=_INTERVAL, linewidth=2, solid_capstyle="butt", zorder=3)
            reach = max(reach, abs(ends[0]), abs(ends[1]))
        axes.plot([center], [place], "D", color=_INTERVAL, markersize=5, zorder=4)
        reach = max(reach, abs(center), float(np.quantile(np.abs(percent), 0.9)))
        label = result.models[row.model].label
        if len(result.workloads) > 1:
            label += f", {result.workloads[row.workload].name}"
        names.append(f"{_short(label)}\n{compared.verdict.word}")
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-1.15 * reach, 1.15 * reach)
    axes.set_xlabel(f"total time against {_short(result.models[0].label)} (%), per item; bar: 95 % interval")
    axes.set_title("Paired differences", loc="left", fontsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_course(axes: Any, result: BenchResult) -> None:
    samples = result.samples
    total = samples.times("total")
    for model, facts in enumerate(result.models):
        own = np.flatnonzero(samples.model == model)
        if not len(own):
            continue
        relative = np.empty(len(own))
        for item in np.unique(samples.item[own]):
            same = samples.item[own] == item
            relative[same] = 100 * (total[own][same] / np.median(total[own][same]) - 1)
        drift = result.drift[model]
        known = f", drift {100 * drift:+.0f} %" if math.isfinite(drift) else ""
        axes.scatter(
            samples.started_s[own],
            np.clip(relative, -50, 100),
            s=5,
            alpha=0.55,
            linewidths=0,
            color=_MODELS[model % len(_MODELS)],
            label=f"{_short(facts.label)}{known}",
        )
    axes.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    axes.set_ylim(-55, 105)
    axes.set_xlabel("seconds into the run")
    axes.set_ylabel("against the item's median (%)")
    axes.set_title("Over the run", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-(longest // 2) :]}"
