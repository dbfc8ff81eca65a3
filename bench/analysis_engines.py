"""Which engine reads the records: seconds and memory from files to counts per configuration and item.

Each engine runs in a process of its own and computes the same: answers, understood answers, stereotyped and
unknown ones per configuration and item, one set of option probabilities, and mean, median and 95th
percentile of the time.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

FILES = "runs/*/*/records/*.parquet"
KEYS = ("model", "prune_method", "sparsity", "category", "item_id")


def with_pyarrow(folder: Path) -> None:
    import numpy as np

    from mlx_prune.report.data import read_study

    data = read_study(folder)
    for outcomes in data.models.values():
        outcomes.parsed()
        outcomes.counts(4)
        outcomes.counts(2)
    for run in data.runs:
        np.quantile(run.elapsed_s, [0.5, 0.95])


def with_duckdb(folder: Path) -> None:
    import duckdb

    source = f"'{folder / FILES}'"
    duckdb.sql(
        f"""SELECT {", ".join(KEYS)}, count(*), count(parsed_answer),
        sum((parsed_answer = ['A', 'B', 'C'][stereotype_target_index + 1])::int),
        sum((parsed_answer = ['A', 'B', 'C'][unknown_index + 1])::int),
        any_value(p_a), any_value(p_b), any_value(p_c) FROM {source} GROUP BY ALL"""
    ).fetchnumpy()
    duckdb.sql(
        f"""SELECT model, prune_method, sparsity, avg(elapsed_s), median(elapsed_s),
        quantile_cont(elapsed_s, 0.95) FROM {source} GROUP BY ALL"""
    ).fetchall()


def with_polars(folder: Path) -> None:
    import polars as pl

    def matches(column: str) -> pl.Expr:
        letters = pl.col(column).replace_strict({0: "A", 1: "B", 2: "C"}, return_dtype=pl.String)
        return (pl.col("parsed_answer") == letters).sum().alias(column)

    frame = pl.scan_parquet(folder / FILES)
    frame.group_by(KEYS).agg(
        pl.len(),
        pl.col("parsed_answer").count(),
        matches("stereotype_target_index"),
        matches("unknown_index"),
        pl.col("p_a", "p_b", "p_c").first(),
    ).collect()
    time_of = pl.col("elapsed_s")
    frame.group_by(KEYS[:3]).agg(
        time_of.mean().alias("mean"),
        time_of.median().alias("median"),
        time_of.quantile(0.95, "linear").alias("p95"),
    ).collect()


ENGINES = {"pyarrow and NumPy": with_pyarrow, "DuckDB": with_duckdb, "Polars": with_polars}


def main(folder: Path) -> None:
    """Time every engine that is installed, twice: the first also pays for imports and a cold cache."""
    for name in ENGINES:
        command = [sys.executable, __file__, name, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout.strip() or f"{name}: {done.stderr.strip().splitlines()[-1]}")


if __name__ == "__main__":
    engine = ENGINES[sys.argv[1]]
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        engine(Path(sys.argv[2]))
        spent = time.perf_counter() - wall, time.process_time() - cpu
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    print(f"{sys.argv[1]:18s} {spent[0]:6.2f} s wall {spent[1]:6.2f} s CPU {memory:5.2f} GB peak")
