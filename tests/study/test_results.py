"""Figures beside a study's records: what no measurement gives is refused, naming file and row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_prune.errors import RecordsError
from mlx_prune.study.results import read_latencies, read_results

ROW = {"model": "m", "prune_method": "wanda", "sparsity": 50.0, "pattern": None, "perplexity": 3.5}


@pytest.mark.parametrize(
    "damage",
    [
        {"perplexity": "3.5"},
        {"perplexity": -1.0},
        {"perplexity": 0},
        {"perplexity": True},
        {"perplexity": 10**400},
        {"perplexity": [3.5]},
        {"standard_error": -0.1},
        {"ratio": "fast"},
        {"low": -0.9},
        {"dense_ms": {}},
        {"size_bytes": -5},
        {"model": 3},
        {"prune_method": None},
        {"sparsity": "50"},
        {"sparsity": 150},
        {"sparsity": float("nan")},
        {"pattern": 24},
    ],
)
def test_a_figure_that_was_never_measured_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    file = tmp_path / "perplexity.json"
    file.write_text(json.dumps({"results": [ROW, ROW | damage]}))
    with pytest.raises(RecordsError, match=r"row 2: .*delete it to measure again"):
        read_results(file)


@pytest.mark.parametrize("content", [{"results": {}}, {"results": None}, {}, {"results": ["x"]}])
def test_rows_that_are_no_rows_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    file = tmp_path / "latency.json"
    file.write_text(json.dumps(content))
    with pytest.raises(RecordsError, match="is damaged"):
        read_results(file)


@pytest.mark.parametrize(
    "damage",
    [
        {"log_errors": 3},
        {"log_errors": [[0.1]]},
        {"log_errors": [["a", "b"]]},
        {"log_errors": [[-0.1, 9.0]]},
        {"log_errors": [[0.1, 0.0]]},
        {"log_errors": [[900.0, 9.0]]},
        {"log_errors": [[float("nan"), 9.0]]},
        {"low": 1.2, "high": 0.8},
        {"low": 0.9, "high": 1.1, "items": 0.5},
        {"drift": "much"},
        {"rounds": [3]},
    ],
)
def test_a_latency_that_was_never_measured_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    row = ROW | {"ratio": 1.0, "log_errors": [[0.01, 9.35]], "items": 20, "rounds": 3}
    file = tmp_path / "latency.json"
    file.write_text(json.dumps({"results": [row]}))
    assert read_latencies(tmp_path)[0]["verdict"] == "same"
    if "low" in damage:
        del row["log_errors"]
    file.write_text(json.dumps({"results": [row | damage]}))
    with pytest.raises(RecordsError, match="is damaged"):
        read_latencies(tmp_path)


def test_what_was_not_measured_or_overflowed_may_be_null(tmp_path: Path) -> None:
    file = tmp_path / "perplexity.json"
    rows = [ROW | {"perplexity": None}, ROW | {"standard_error": 0.0, "note": "why"}]
    file.write_text(json.dumps({"results": rows}))
    assert read_results(file) == rows
    assert read_results(tmp_path / "absent.json") == []
