"""Figures beside a study's records: what no measurement gives is refused, naming file and row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.stats.perplexity import Perplexity
from mlx_prune.study.results import PerplexityRow, ResultsFile, SizeRow, latencies, perplexities, sizes

NAME = {"model": "m", "prune_method": "wanda", "sparsity": 50.0, "pattern": None}
ROWS: dict[str, dict[str, Any]] = {
    "perplexity": NAME | {"perplexity": 3.5},
    "latency": NAME | {"ratio": 1.0, "log_errors": [[0.01, 9.35]], "items": 20, "rounds": 3},
    "sizes": NAME | {"size_bytes": 5},
}
READ: dict[str, Callable[[Path], ResultsFile[Any]]] = {
    "perplexity": perplexities,
    "latency": latencies,
    "sizes": sizes,
}
WANDA = Configuration("m", "wanda", 50.0)


def written(study: Path, name: str, *rows: dict[str, Any]) -> Path:
    (study / f"{name}.json").write_text(json.dumps({"results": rows}))
    return study


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("perplexity", {"perplexity": "3.5"}),
        ("perplexity", {"perplexity": -1.0}),
        ("perplexity", {"perplexity": 0}),
        ("perplexity", {"perplexity": True}),
        ("perplexity", {"perplexity": 10**400}),
        ("perplexity", {"perplexity": [3.5]}),
        ("perplexity", {"standard_error": -0.1}),
        ("perplexity", {"sequences": 2, "sequence_nll": [0.5], "sequence_hashes": ["a"]}),
        ("perplexity", {"sequences": 1, "sequence_nll": [0.5], "sequence_hashes": None}),
        ("perplexity", {"sequences": 1, "sequence_nll": ["x"], "sequence_hashes": ["a"]}),
        ("latency", {"ratio": "fast"}),
        ("latency", {"low": -0.9}),
        ("latency", {"dense_ms": {}}),
        ("sizes", {"size_bytes": -5}),
        *(
            (name, damage)
            for name in ROWS
            for damage in (
                {"model": 3},
                {"prune_method": None},
                {"sparsity": "50"},
                {"sparsity": 150},
                {"sparsity": float("nan")},
                {"pattern": 24},
            )
        ),
    ],
)
def test_a_figure_that_was_never_measured_is_refused(
    tmp_path: Path, name: str, damage: dict[str, Any]
) -> None:
    other = ROWS[name] | {"model": "another"}
    with pytest.raises(RecordsError, match=r"row 2 .*; delete it to measure again\.$"):
        READ[name](written(tmp_path, name, other, ROWS[name] | damage))


@pytest.mark.parametrize("name", ROWS)
def test_a_figure_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordsError, match=r"row 1 lacks (perplexity|ratio|size_bytes); delete it"):
        READ[name](written(tmp_path, name, NAME))


@pytest.mark.parametrize("content", [{"results": {}}, {"results": None}, {}, {"results": ["x"]}])
def test_rows_that_are_no_rows_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "latency.json").write_text(json.dumps(content))
    with pytest.raises(RecordsError, match=r"latency\.json (gives|lacks) results.*; delete it"):
        latencies(tmp_path)


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
    row = ROWS["latency"]
    found = latencies(written(tmp_path, "latency", row)).get(WANDA)
    assert found is not None
    assert found.verdict == "same"
    if "low" in damage:
        row = {name: value for name, value in row.items() if name != "log_errors"}
    with pytest.raises(RecordsError, match=r"latency\.json.*; delete it to measure again\.$"):
        latencies(written(tmp_path, "latency", row | damage))


def test_what_was_not_measured_or_overflowed_may_be_null(tmp_path: Path) -> None:
    overflowed = ROWS["perplexity"] | {"model": "n", "perplexity": None}
    noted = ROWS["perplexity"] | {"standard_error": 0.0, "note": "why"}
    found = perplexities(written(tmp_path, "perplexity", overflowed, noted))
    assert [(name.model, row.perplexity) for name, row in found.items()] == [("n", None), ("m", 3.5)]
    assert not perplexities(tmp_path / "absent").items()


def test_a_row_that_is_put_is_read_again_and_takes_the_old_ones_place(tmp_path: Path) -> None:
    figure = Perplexity(math.inf, 0.5, 1, 3, 2, (math.inf,), ("a",))
    perplexities(tmp_path).put(WANDA, PerplexityRow.of(figure, "demo"))
    found = perplexities(tmp_path).get(WANDA)
    assert found is not None
    assert (found.figure, found.text) == (figure, "demo")
    sizes(tmp_path).put(WANDA, SizeRow(1))
    sizes(tmp_path).put(WANDA, SizeRow(2))
    assert [row for _, row in sizes(tmp_path).items()] == [SizeRow(2)]


def test_rows_that_another_process_added_meanwhile_stay(tmp_path: Path) -> None:
    mine, other = sizes(tmp_path), sizes(tmp_path)
    other.put(WANDA, SizeRow(1))
    mine.put(Configuration("m"), SizeRow(2))
    assert mine.get(WANDA) == SizeRow(1)
    assert dict(sizes(tmp_path).items()) == {WANDA: SizeRow(1), Configuration("m"): SizeRow(2)}
