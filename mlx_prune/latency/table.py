"""A latency result as rows with stable columns: for CSV, Markdown and the terminal."""

from __future__ import annotations

import csv
import io
import math

import numpy as np

from mlx_prune.latency.result import TIMED, BenchResult, Comparison, Row
from mlx_prune.latency.verdict import FASTER, OPEN, SAME, SLOWER
from mlx_prune.outside_names import csv_cell, markdown
from mlx_prune.words import count, counted, fixed, interval, percent

Cell = str | float | None

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


def table_rows(result: BenchResult) -> list[dict[str, Cell]]:
    """One row per model and workload, all with the same columns; None where nothing is known."""
    return [
        {column: None if _unknown(cell) else cell for column, cell in _cells(result, row).items()}
        for row in result.rows
    ]


def _unknown(cell: Cell) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _cells(result: BenchResult, row: Row) -> dict[str, Cell]:
    facts, load = result.models[row.model], result.workloads[row.workload]
    total = row.comparisons.get("total")
    return {
        "model": facts.label,
        "recipe": facts.recipe,
        "dtype": facts.dtype,
        "workload": load.name,
        "prompt_tokens": float(np.median(load.prompt_tokens[row.model])),
        "new_tokens": load.new_tokens,
        "measurements": row.measurements,
        **_spread(row, "ttft"),
        **_spread(row, "per_token"),
        **_spread(row, "total"),
        "prompt_tps": row.prompt_tps,
        "decode_tps": row.decode_tps,
        **_ratio(row, "total", "verdict"),
        "more_rounds": total.verdict.more_rounds if total else None,
        "more_items": total.verdict.more_items if total else None,
        **_ratio(row, "ttft", "ttft_verdict"),
        **_ratio(row, "per_token", "per_token_verdict"),
        "drift_percent": 100 * result.drift[row.model],
        "load_s": facts.load_s,
        "memory_bytes": facts.memory_bytes,
        "peak_bytes": row.peak_bytes,
        "disk_bytes": facts.disk_bytes,
        "zstd_bytes": facts.zstd_bytes,
        "bitmask_bytes": facts.bitmask_bytes,
        "gguf_bytes": facts.gguf_bytes,
    }


def _spread(row: Row, metric: str) -> dict[str, Cell]:
    spread = row.times[metric]
    return {f"{metric}_median_ms": spread.median_ms, f"{metric}_p95_ms": spread.p95_ms}


def _ratio(row: Row, metric: str, verdict: str) -> dict[str, Cell]:
    found = row.comparisons.get(metric)
    return {
        f"{metric}_ratio": found.ratio.ratio if found else None,
        f"{metric}_ratio_low": found.ratio.low if found else None,
        f"{metric}_ratio_high": found.ratio.high if found else None,
        verdict: found.verdict.word if found else None,
    }


def to_csv(result: BenchResult) -> str:
    """The rows as CSV with a heading; empty where nothing is known, numbers unrounded."""
    rows = table_rows(result)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: csv_cell(cell) if isinstance(cell, str) else cell for key, cell in row.items()})
    return text.getvalue()


def to_markdown(result: BenchResult) -> str:
    """The rows as a Markdown table, rounded for reading, with the settings and warnings below it."""
    lines = [
        "| " + " | ".join(heading for heading, _ in _MARKDOWN) + " |",
        "|" + "|".join(" --- " if i < 2 else " ---: " for i in range(len(_MARKDOWN))) + "|",
    ]
    for row, cells in zip(result.rows, table_rows(result), strict=True):
        shown = {name: _rounded(name, cell) for name, cell in cells.items()}
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
    margin = percent(settings.margin, None)
    counts = [one.ratio.family for row in result.rows for one in row.comparisons.values()]
    family = f" of all {counts[0]} comparisons" if counts and counts[0] > 1 else ""
    # What an invented question says is of no matter to a clock.
    asked = " (demo questions, which are only timed)" if settings.bbq == "demo" else ""
    order = "in ABBA blocks with reloads" if result.blocks else "in turn at every item"
    return (
        f"{items} prompts{asked} x {counted(settings.rounds, 'round')}, models {order}, "
        f"{settings.cooldown_s:g} s between rounds; medians and 95th percentiles. Ratio: total time, paired "
        f"with {result.models[0].label}, simultaneous {percent(settings.confidence, None)} intervals over "
        f"items{family}. faster, slower: the whole interval is more than {margin} from 1; same: all of it is "
        f"within {margin}; open: it reaches across that limit. Timed: {TIMED}. On {machine(result)}."
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
    ends = f" ({interval(ratio.low, ratio.high, between='-')})" if ratio.settled else ""
    return fixed(ratio.ratio) + ends


def verdict_sentence(result: BenchResult, row: Row) -> str:
    """What one row shows against the dense model, as a sentence for people."""
    load, dense = result.workloads[row.workload], result.models[0].label
    name = result.models[row.model].label + (f", {load.name}" if len(result.workloads) > 1 else "")
    total = row.comparisons["total"]
    found = total.verdict
    says = {
        SAME: f"the same as {dense} within {percent(result.settings.margin, None)}",
        FASTER: f"faster than {dense}",
        SLOWER: f"slower than {dense}",
        OPEN: str(found).replace(OPEN, f"{OPEN} against {dense}", 1),
    }.get(found.word, f"{found.word} of {dense}")
    if found.more_rounds is not None:
        says += f" (--rounds {result.settings.rounds + found.more_rounds})"
    elif found.more_items is not None:
        says += f" (--items {load.items + found.more_items})"
    others = [
        f"{words} {row.comparisons[metric].verdict.word}"
        for metric, words in (("ttft", "first token"), ("per_token", "further tokens"))
        if metric in row.comparisons
    ]
    return f"{name}: {says}; total time x {interval_text(total)}; {', '.join(others)}."


def _rounded(column: str, cell: Cell) -> str:
    if cell is None or isinstance(cell, str):
        return cell or "-"
    if column.endswith("_bytes"):
        # The heading holds the unit, megabytes.
        return f"{cell / 1e6:,.1f}"
    return f"{cell:,.2f}" if column.endswith(("_ms", "_s")) else count(cell)
