"""Every table of a study of 2,368,860 records: this project against pandas, per the definitions.

    python bench/analysis.py                    # 3 models x 13 configurations x 12,148 items x 5 seeds
    python bench/analysis.py --scale 0.1        # a tenth of the items
    python bench/analysis.py --engines          # reading and grouping: pyarrow, DuckDB, Polars

Records are generated into a temporary folder, and exported to the study's JSON lines by this project's own
export. Each way runs in a process of its own, from its files to all tables, imports not counted, and prints
seconds of wall and CPU time for reading and for computing, and its peak memory; then every figure that both
have is compared.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from generated_study import generate

from mlx_prune.runs.records import export_jsonl

Seconds = tuple[float, float]
Result = tuple[Seconds, Seconds, dict[str, list[dict[str, Any]]]]

# Columns that name a row; everything else is a figure.
NAMES = ("model", "prune_method", "sparsity", "category", "term")


class Clock:
    """Wall and CPU seconds between calls."""

    def __init__(self) -> None:
        self.last = (time.perf_counter(), time.process_time())

    def lap(self) -> Seconds:
        now = (time.perf_counter(), time.process_time())
        spent = (now[0] - self.last[0], now[1] - self.last[1])
        self.last = now
        return spent


def ours(folder: Path, every: bool) -> Result:
    from mlx_prune.report.data import read_study
    from mlx_prune.report.tables.build import STUDY_TABLES, build_tables
    from mlx_prune.report.tables.table import Table

    clock = Clock()
    data = read_study(folder)
    reading = clock.lap()
    kinds = STUDY_TABLES
    tables = build_tables(data) if every else {k.about.name: Table.of(k, k.of_study(data)) for k in kinds}
    computing = clock.lap()
    found = {name: table.records() for name, table in tables.items()}
    found["logistic"] = [row for row in found["logistic"] if row["sparsity_axis"] == "target"]
    return reading, computing, found


def pandas_way(folder: Path) -> Result:
    import pandas as pd
    import pandas_study

    clock = Clock()
    perplexity = pd.DataFrame(json.loads((folder / "perplexity.json").read_text())["results"])
    records = pandas_study.load(folder)
    reading = clock.lap()
    tables = pandas_study.every_table(records, perplexity.drop(columns="pattern"))
    computing = clock.lap()
    return reading, computing, {name: table.to_dict("records") for name, table in tables.items()}


def worker(way: str, folder: Path, result: Path) -> None:
    reading, computing, tables = pandas_way(folder) if way == "pandas" else ours(folder, way == "every")
    # ru_maxrss is bytes on macOS, KiB on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {"reading": reading, "computing": computing, "peak": peak, "tables": tables}
    result.write_text(json.dumps(found, default=float))


def measure(way: str, folder: Path) -> dict[str, Any]:
    result = folder / f"{way}.json"
    command = [sys.executable, __file__, "--worker", way, "--folder", folder, "--result", result]
    subprocess.run([str(word) for word in command], check=True)
    found: dict[str, Any] = json.loads(result.read_text())
    for place, clock in enumerate(("wall", "cpu")):
        found[clock] = found["reading"][place] + found["computing"][place]
    return found


def compare(mine: dict[str, Any], theirs: dict[str, Any]) -> tuple[int, int, list[str]]:
    """Tables and figures compared, and what differs."""
    figures, wrong = 0, []
    for name, rows in theirs.items():
        keys = [key for key in NAMES if key in rows[0]]
        found = {tuple(row[key] for key in keys): row for row in mine[name]}
        if len(found) != len(rows):
            wrong.append(f"{name}: {len(found)} rows, not {len(rows)}")
        for row in rows:
            match = found.get(tuple(row[key] for key in keys))
            for column in (match or {}).keys() & row.keys() - set(keys):
                figures += 1
                if not equal(match[column], row[column]):
                    wrong.append(
                        f"{name} {[row[k] for k in keys]} {column}: {match[column]} not {row[column]}"
                    )
            if match is None:
                wrong.append(f"{name}: no row {[row[k] for k in keys]}")
    return len(theirs), figures, wrong


def equal(mine: float | None, theirs: float | None) -> bool:
    if mine is None or theirs is None or math.isnan(theirs):
        return mine is None and (theirs is None or math.isnan(theirs))
    return math.isclose(mine, theirs, rel_tol=1e-6, abs_tol=1e-9)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--worker")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.folder, options.result)
        return
    with tempfile.TemporaryDirectory(prefix="mlx-prune-analysis-") as temporary:
        folder = Path(temporary)
        print(f"{generate(folder, options.scale):,} records")
        if options.engines:
            import analysis_engines

            analysis_engines.main(folder)
            return
        report(folder)


def report(folder: Path) -> None:
    for run in sorted(folder.glob("runs/*/*")):
        export_jsonl(run, folder / f"{run.parent.name}-{run.name}.jsonl")
    ways = {
        "pandas": "pandas, per the definitions",
        "study": "ours, the same tables",
        "every": "ours, every table",
    }
    results = {way: measure(way, folder) for way in ways}
    print(f"{'seconds, wall (CPU)':28s}", *(f"{part:>16s}" for part in ("reading", "computing", "together")))
    for way, found in results.items():
        cells = [f"{wall:7.2f} ({cpu:6.2f})" for wall, cpu in (found["reading"], found["computing"])]
        cells.append(f"{found['wall']:7.2f} ({found['cpu']:6.2f})")
        print(f"{ways[way]:28s} {' '.join(f'{c:>16s}' for c in cells)} peak {found['peak'] / 1e9:.2f} GB")
    for way in ("study", "every"):
        wall, cpu = (results["pandas"][clock] / results[way][clock] for clock in ("wall", "cpu"))
        print(f"{ways[way]:28s} {wall:6.1f} x as fast by wall time, {cpu:6.1f} x by CPU time")
    tables, figures, wrong = compare(results["study"]["tables"], results["pandas"]["tables"])
    print(f"{figures:,} figures in {tables} tables compared, {len(wrong)} differ")
    for line in wrong[:20]:
        print("  " + line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
