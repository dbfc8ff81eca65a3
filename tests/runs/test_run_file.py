"""run.json from outside: whatever stands in it, one sentence, for everyone who reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.gate.sources import measured_run
from mlx_prune.report.about import read_about
from mlx_prune.report.run_states import run_states
from mlx_prune.runs.folder import FORMAT, read_run
from mlx_prune.runs.run_file import RUN_FILE, read_run_file

ASKED = {"model": "alpha", "prune_method": "wanda", "sparsity": 50.0, "pattern": None}
GOOD: dict[str, Any] = {
    "format": FORMAT,
    "status": "complete",
    "configuration": ASKED,
    "totals": {"items": 2, "records": 4},
    "versions": {"mlx": "0"},
    "device": {},
    "sessions": [{"versions": {}}],
}
DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "totals that are a number": ({"totals": 5}, "totals is not an object"),
    "a count that is a text": ({"totals": {"records": "4"}}, "number of records"),
    "a count below zero": ({"totals": {"records": -4}}, "number of records"),
    "a configuration that is a number": ({"configuration": 7}, "configuration is not an object"),
    "a configuration of nothing": ({"configuration": None}, "configuration is not an object"),
    "a sparsity that is a text": ({"configuration": {**ASKED, "sparsity": "x"}}, "sparsity is not a per"),
    "a sparsity that is none": ({"configuration": {**ASKED, "sparsity": 101}}, "sparsity is not a per"),
    "a model that is a list": ({"configuration": {**ASKED, "model": ["a"]}}, "model is not a text"),
    "a pattern that is a list": ({"configuration": {**ASKED, "pattern": [1]}}, "pattern is not a text"),
    "sessions that are a number": ({"sessions": 3}, "sessions is not a list"),
    "a session that is a number": ({"sessions": [4]}, "sessions is not a list"),
    "versions of a session": ({"sessions": [{"versions": 3}]}, "versions is not an object"),
    "a device that is a number": ({"device": 3}, "device is not an object"),
}


def written(study: Path, **changes: Any) -> Path:
    run = study / "runs" / "alpha" / "wanda-s50"
    run.mkdir(parents=True)
    (run / RUN_FILE).write_text(json.dumps({**GOOD, **changes}))
    return run


@pytest.mark.parametrize("name", DAMAGED)
def test_an_entry_of_another_kind_is_told_to_every_reader(tmp_path: Path, name: str) -> None:
    changes, said = DAMAGED[name]
    run = written(tmp_path, **changes)
    readers = (
        lambda: read_run(run),
        lambda: read_about(tmp_path),
        lambda: run_states(tmp_path),
        lambda: measured_run(run),
    )
    for read in readers:
        with pytest.raises(RecordsError, match=f"is damaged .*{said}.*redo the run"):
            read()


def test_what_is_absent_is_no_damage(tmp_path: Path) -> None:
    run = written(tmp_path)
    assert read_run_file(run / RUN_FILE) == GOOD
    (run / RUN_FILE).write_text("{}")
    assert read_run_file(run / RUN_FILE) == {}
    assert run_states(tmp_path)[0].configuration == Configuration("alpha", "wanda", 50.0)


def test_a_run_that_tells_no_configuration_cannot_be_carried_on(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text(json.dumps({"format": FORMAT}))
    with pytest.raises(RecordsError, match="tells no configuration"):
        read_run(tmp_path)
