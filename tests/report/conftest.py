"""A study that several tests of its tables read."""

from __future__ import annotations

import json

import pytest
from random_study import random_records, write_study

from mlx_prune.report.tables.build import build_tables

CONFIGURATION = ("prune_method", "sparsity", "pattern")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Rows, the folder that holds them, and its tables; two models."""
    folder = tmp_path_factory.mktemp("study")
    rows = random_records(3, models=("alpha", "beta"), items=60)
    write_study(folder, rows)
    names = dict.fromkeys((r["model"], *(r[c] for c in CONFIGURATION)) for r in rows)
    listed = [dict(zip(("model", *CONFIGURATION), name, strict=True)) for name in names]
    perplexity = [name | {"perplexity": 9.0 + number} for number, name in enumerate(listed)]
    sizes = [name | {"size_bytes": 1000 + number} for number, name in enumerate(listed)]
    (folder / "perplexity.json").write_text(json.dumps({"results": perplexity}))
    (folder / "sizes.json").write_text(json.dumps({"results": sizes}))
    for run in folder.glob("runs/*/*"):
        if "dense" not in run.name:
            (run / "pruning_meta.json").write_text(json.dumps({"actual_sparsity": 33.3}))
    return rows, folder, build_tables(folder)
