"""A latency result as rows with stable columns: for CSV, Markdown and the terminal."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np

from mlx_prune.latency.result import TIMED, BenchResult, Comparison, Row
from mlx_prune.latency.verdict import FASTER, OPEN, SAME, SLOWER
from mlx_prune.outside_names import csv_cell, markdown

COLUMNS = (
    "model",
    "recipe",
    "dtype",
    "workload",
    "prompt_tokens",
    "new_tokens",
    "measurements",
    "ttft_median_ms",
    "ttft_p95_ms",
    "per_token_median_ms",
    "per_token_p95_ms",
    "total_median_ms",
    "total_p95_ms",
    "prompt_tps",
    "decode_tps",
    "total_ratio",
    "total_ratio_low",
    "total_ratio_high",
    "verdict",
    "more_rounds",
    "more_items",
    "ttft_ratio",
    "ttft_ratio_low",
    "ttft_ratio_high",
    "ttft_verdict",
    "per_token_ratio",
    "per_token_ratio_low",
    "per_token_ratio_high",
    "per_token_verdict",
    "drift_percent",
    "load_s",
    "memory_bytes",
    "peak_bytes",
    "disk_bytes",
    "zstd_bytes",
    "bitmask_bytes",
    "gguf_bytes",
)

_MARKDOWN = (
    ("Model", "model"),
    ("Prompts", "workload"),
    ("TTFT ms", "ttft_median_ms"),
    ("p95", "ttft_p95_ms"),
    ("ms/token", "per_token_median_ms"),
    ("p95", "per_token_p95_ms"),
    ("Total ms", "total_median_ms"),
    ("p95", "total_p95_ms"),
    ("Prompt tok/s", "prompt_tps"),
    ("Decode tok/s", "decode_tps"),
    ("Ratio", "ratio"),
    ("Verdict", "verdict"),
    ("Load s", "load_s"),
    ("Memory MB", "memory_bytes"),
    ("Peak MB", "peak_bytes"),
    ("Disk MB", "disk_bytes"),
    ("zstd MB", "zstd_bytes"),
    ("Bitmask MB", "bitmask_bytes"),
    ("GGUF MB", "gguf_bytes"),
)


def table_rows(result: BenchResult) -> list[dict[str, Any]]:
    """One dictionary per model and workload with the keys of :data:`COLUMNS`; None where nothing is known."""
    return [_cells(result, row) for row in result.rows]


def _cells(result: BenchResult, row: Row) -> dict[str, Any]:
    facts, load = result.models[row.model], result.workloads[row.workload]
    cells: dict[str, Any] = {
        "model": facts.label,
        "recipe": facts.recipe,
        "dtype": facts.dtype,
        "workload": load.name,
        "prompt_tokens": float(np.median(load.prompt_tokens[row.model])),
        "new_tokens": load.new_tokens,
        "measurements": row.measurements,
        "prompt_tps": row.prompt_tps,
        "decode_tps": row.decode_tps,
        "drift_percent": 100 * result.drift[row.model],
        "peak_bytes": row.peak_bytes,
    }
    for metric, spread in row.times.items():
        cells[f"{metric}_median_ms"] = spread.median_ms
        cells[f"{metric}_p95_ms"] = spread.p95_ms
        compared = row.comparisons.get(metric)
        if compared is not None:
            cells[f"{metric}_ratio"] = compared.ratio.ratio
            cells[f"{metric}_ratio_low"] = compared.ratio.low
            cells[f"{metric}_ratio_high"] = compared.ratio.high
            cells["verdict" if metric == "total" else f"{metric}_verdict"] = compared.verdict.word
            if metric == "total":
                cells["more_rounds"] = compared.verdict.more_rounds
                cells["more_items"] = compared.verdict.more_items
    for name in ("load_s", "memory_bytes", "disk_bytes", "zstd_bytes", "bitmask_bytes", "gguf_bytes"):
        cells[name] = getattr(facts, name)
    known = {name: cells.get(name) for name in COLUMNS}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in known.items()}


def to_csv(result: BenchResult) -> str:
    """The rows as CSV with a heading; empty where nothing is known, numbers unrounded."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table_rows(result):
        writer.writerow({key: csv_cell(cell) if isinstance(cell, str) else cell for key, cell in row.items()})
    return text.getvalue()


def to_markdown(result: BenchResult) -> str:
    """The rows as a Markdown table, rounded for reading, with the settings and warnings below it."""
    lines = [
        "| " + " | ".join(heading for heading, _ in _MARKDOWN) + " |",
        "|" + "|".join(" --- " if i < 2 else " ---: " for i in range(len(_MARKDOWN))) + "|",
    ]
    for row, cells in zip(result.rows, table_rows(result), strict=True):
        shown = {name: _rounded(name, value) for name, value in cells.items()}
        total = row.comparisons.get("total")
        shown["ratio"] = interval_text(total) if total else "1"
        shown["verdict"] = str(total.verdict) if total else "baseline"
        shown["model"] = markdown(shown["model"])
        lines.append("| " + " | ".join(shown[key] for _, key in _MARKDOWN) + " |")
    notes = [how_measured(result), *(f"Warning: {warning}" for warning in result.warnings)]
    return "\n".join(lines) + "\n\n" + "\n\n".join(notes) + "\n"


def how_measured(result: BenchResult) -> str:
    """One paragraph on how the figures came about."""
    settings = result.settings
    items = sum(load.items for load in result.workloads)
    rounds = "1 round" if settings.rounds == 1 else f"{settings.rounds} rounds"
    margin = f"{100 * settings.margin:g} %"
    counts = [one.ratio.family for row in result.rows for one in row.comparisons.values()]
    family = f" of all {counts[0]} comparisons" if counts and counts[0] > 1 else ""
    # What an invented question says is of no matter to a clock.
    asked = " (demo questions, which are only timed)" if settings.bbq == "demo" else ""
    order = "in turn at every item" if settings.schedule == "interleaved" else "in ABBA blocks with reloads"
    return (
        f"{items} prompts{asked} x {rounds}, models {order}, {settings.cooldown_s:g} s between "
        f"rounds; medians and 95th percentiles. Ratio: total time, paired with {result.models[0].label}, "
        f"simultaneous {100 * settings.confidence:g} % intervals over items{family}. faster, slower: the "
        f"whole interval is more than {margin} from 1; same: all of it is within {margin}; open: it reaches "
        f"across that limit. Timed: {TIMED}. On {machine(result)}."
    )


def machine(result: BenchResult) -> str:
    """The machine and the libraries, in a few words."""
    device, versions = result.device, result.versions
    parts = [str(device.get("machine", "an unknown machine")), str(device.get("backend", ""))]
    parts += [f"{name} {versions[name]}" for name in ("mlx", "mlx-lm") if name in versions]
    return ", ".join(part for part in parts if part)


def interval_text(compared: Comparison) -> str:
    """A ratio with its interval: ``1.003 (0.991-1.014)``."""
    ratio = compared.ratio
    if math.isnan(ratio.ratio):
        return "-"
    if not ratio.settled:
        return f"{ratio.ratio:.3f}"
    return f"{ratio.ratio:.3f} ({ratio.low:.3f}-{ratio.high:.3f})"


def verdict_sentence(result: BenchResult, row: Row) -> str:
    """What one row shows against the dense model, as a sentence for people."""
    name, dense = result.models[row.model].label, result.models[0].label
    if len(result.workloads) > 1:
        name = f"{name}, {result.workloads[row.workload].name}"
    total = row.comparisons["total"]
    margin = f"{100 * result.settings.margin:g} %"
    says = {
        SAME: f"the same as {dense} within {margin}",
        FASTER: f"faster than {dense}",
        SLOWER: f"slower than {dense}",
        OPEN: str(total.verdict).replace(OPEN, f"{OPEN} against {dense}", 1),
    }.get(total.verdict.word, f"{total.verdict.word} of {dense}")
    if total.verdict.more_rounds is not None:
        says += f" (--rounds {result.settings.rounds + total.verdict.more_rounds})"
    elif total.verdict.more_items is not None:
        says += f" (--items {result.workloads[row.workload].items + total.verdict.more_items})"
    others = [
        f"{words} {row.comparisons[metric].verdict.word}"
        for metric, words in (("ttft", "first token"), ("per_token", "further tokens"))
        if metric in row.comparisons
    ]
    return f"{name}: {says}; total time x {interval_text(total)}; {', '.join(others)}."


def _rounded(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_bytes"):
        return f"{value / 1e6:,.1f}"
    if isinstance(value, float):
        return f"{value:,.2f}" if name.endswith(("_ms", "_s")) else f"{value:,.0f}"
    return str(value)
