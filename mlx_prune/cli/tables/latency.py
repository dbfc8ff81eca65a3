"""What a latency run measured, for a terminal."""

from __future__ import annotations

from mlx_prune import words
from mlx_prune.cli.terminal.table import FittedTable
from mlx_prune.latency.result import BenchResult
from mlx_prune.latency.table import interval_text

BITMASK_LEGEND = (
    "Factors: of the first model's safetensors. bitmask: one bit per weight and the weights that are not "
    "zero, as Core ML stores sparse weights; reckoned, and MLX and llama.cpp do not read it."
)


def latency_table(result: BenchResult) -> FittedTable:
    """Median times per model and workload."""
    several = len(result.workloads) > 1
    table = _table("Median milliseconds", keys=2 if several else 1)
    if several:
        table.add_column("Prompts")
    for heading in ("First token", "/ token", "Total", "p95", "Ratio (interval)"):
        table.add_column(heading, justify="right")
    for row in result.rows:
        total = row.comparisons.get("total")
        table.add_row(
            result.models[row.model].label,
            *([result.workloads[row.workload].name] if several else []),
            *(words.magnitude(row.times[metric].median_ms) for metric in ("ttft", "per_token", "total")),
            words.magnitude(row.times["total"].p95_ms),
            interval_text(total) if total else "1",
        )
    return table


def speed_table(result: BenchResult) -> FittedTable:
    """Tokens per second, load time and memory per model."""
    table = _table("Tokens per second, load time, memory")
    for heading in ("Prompt", "Decode", "Load s", "Weights", "Peak"):
        table.add_column(heading, justify="right")
    for model, facts in enumerate(result.models):
        own = [row for row in result.rows if row.model == model]
        table.add_row(
            facts.label,
            # Of the first kind of prompts; the others are in the files.
            words.count(own[0].prompt_tps),
            words.count(own[0].decode_tps),
            words.magnitude(facts.load_s),
            words.size(facts.memory_bytes),
            words.size(max(row.peak_bytes for row in own)),
        )
    return table


def size_table(result: BenchResult) -> FittedTable:
    """Sizes on disk per model, each also as a multiple of the first model's safetensors."""
    table = _table("Size on disk")
    columns = (
        ("safetensors", "disk_bytes"),
        ("zstd", "zstd_bytes"),
        ("bitmask", "bitmask_bytes"),
        ("GGUF", "gguf_bytes"),
    )
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    first = result.models[0].disk_bytes
    for facts in result.models:
        sizes = [getattr(facts, name) for _, name in columns]
        table.add_row(facts.label, *(_size_text(n_bytes, first) for n_bytes in sizes))
    return table


def _size_text(n_bytes: int | None, first: int | None) -> str:
    return words.size(n_bytes) + (f" x{words.fixed(n_bytes / first, 2)}" if n_bytes and first else "")


def _table(title: str, keys: int = 1) -> FittedTable:
    table = FittedTable(title, keys=keys)
    # Long names fold; figures never do.
    table.add_column("Model", wrap=True)
    return table
