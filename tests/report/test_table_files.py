"""How a report's tables are made and written: of nothing but records, from damaged files, as text."""

import math
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from random_study import random_records, write_study

from mlx_prune.errors import RecordsError
from mlx_prune.report.data import read_study
from mlx_prune.report.tables.build import build_tables, write_tables
from mlx_prune.report.tables.table import About, Row, Table, show


@dataclass(frozen=True, kw_only=True)
class Toy(Row):
    about = About("t", "T", "n")

    a: float | None
    b: str


def test_a_study_without_extras_builds_every_table(tmp_path):
    rows = [
        r | {"elapsed_s": None, **{f"p_{x}": None for x in "abc"}}
        for r in random_records(5, items=20, complete=True)
        if r["prune_method"] != "dense"
    ]
    tables = build_tables(write_study(tmp_path, rows))
    empty = {name for name, table in tables.items() if not len(table)}
    assert {"evaluation_gap", "latency", "sizes", "tests", "emergence", "expected", "transitions"} <= empty
    assert len(tables["rates"]) == 5 * 3
    assert tables["rates"].records()[0]["srs_delta"] is None
    assert tables["rates"].records()[0]["actual_sparsity"] is None


def test_damaged_and_missing_files_are_one_sentence(tmp_path):
    with pytest.raises(RecordsError, match="no records"):
        read_study(tmp_path)
    write_study(tmp_path, random_records(0, items=5))
    (tmp_path / "perplexity.json").write_text('{"results": [{"model": "alpha"}]}')
    with pytest.raises(RecordsError, match="perplexity"):
        read_study(tmp_path)
    (tmp_path / "perplexity.json").write_text("[1, 2")
    with pytest.raises(RecordsError, match="perplexity"):
        read_study(tmp_path)


def test_runs_that_were_mixed_up_are_refused(tmp_path):
    write_study(tmp_path, random_records(0, items=5))
    dense = next(tmp_path.glob("runs/*/dense-s0/records/part-0.parquet"))
    other = next(tmp_path.glob("runs/*/random-s50/records"))
    (other / "part-9.parquet").write_bytes(dense.read_bytes())
    with pytest.raises(RecordsError, match="several configurations"):
        read_study(tmp_path)


def test_files_hold_what_the_tables_hold(study, tmp_path):
    import pandas as pd

    _, _, tables = study
    written = write_tables(tables, tmp_path)
    assert {p.suffix for p in written} == {".csv", ".md"}
    frame = pd.read_csv(tmp_path / "tests.csv")
    np.testing.assert_array_equal(frame["chi2"], tables["tests"].column("chi2"))
    assert list(frame.columns) == list(tables["tests"].columns)
    assert tables["tests"].to_arrow().num_rows == len(frame)
    markdown = (tmp_path / "tests.md").read_text().splitlines()
    assert len([line for line in markdown if line.startswith("|")]) == len(frame) + 2


def test_values_are_shown_for_reading():
    shown = [show(v) for v in (None, True, 12345, 0.123456, 1234.5, 54321.9, 5.5e8, 1e-9, 0.0, "a|b")]
    assert shown == ["-", "yes", "12,345", "0.1235", "1234", "54,322", "5.50e+08", "1.00e-09", "0", "a|b"]
    table = Table(Toy, (Toy(a=math.nan, b="x"),))
    assert table.records()[0]["a"] is None
    assert table.to_csv() == "a,b\n,x\n"
    assert table.to_markdown() == "| a | b |\n|---:|---|\n| - | x |\n"


def test_tables_need_no_mlx(study):
    _, folder, _ = study
    code = f"""
import sys
from pathlib import Path
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mlx", "mlx_lm", "transformers", "datasets"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from mlx_prune.report.tables.build import build_tables
assert len(build_tables(Path({str(folder)!r}))["rates"])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
