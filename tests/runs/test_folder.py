"""run.json from outside: whatever stands in it, one sentence, for everyone who reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.gate.sources import measured_run
from mlx_prune.runs.folder import FORMAT, RUN_FILE, RunAbout, RunFolder
from mlx_prune.study.about import read_about
from mlx_prune.study.states import run_states

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
    "totals that are a number": ({"totals": 5}, "gives totals as 5"),
    "a count that is a text": ({"totals": {"records": "4"}}, "gives totals.records as '4'"),
    "a count below zero": ({"totals": {"records": -4}}, "gives totals.records as -4"),
    "a configuration that is a number": ({"configuration": 7}, "gives configuration as 7"),
    "a configuration of nothing": ({"configuration": None}, "gives configuration as"),
    "a sparsity that is a text": (
        {"configuration": {**ASKED, "sparsity": "x"}},
        "gives configuration.sparsity as 'x'",
    ),
    "a sparsity that is none": (
        {"configuration": {**ASKED, "sparsity": 101}},
        "gives configuration.sparsity as 101",
    ),
    "a model that is a list": ({"configuration": {**ASKED, "model": ["a"]}}, "gives configuration.model as"),
    "a pattern that is a list": (
        {"configuration": {**ASKED, "pattern": [1]}},
        "gives configuration.pattern as",
    ),
    "sessions that are a number": ({"sessions": 3}, "gives sessions as 3"),
    "a session that is a number": ({"sessions": [4]}, "gives sessions.0 as 4"),
    "versions of a session": ({"sessions": [{"versions": 3}]}, "gives sessions.0.versions as 3"),
    "a device that is a number": ({"device": 3}, "gives device as 3"),
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
        lambda: RunFolder(run).resumed(),
        lambda: RunFolder(run).finished(),
        lambda: read_about(tmp_path),
        lambda: run_states(tmp_path),
        lambda: measured_run(run),
    )
    for read in readers:
        with pytest.raises(RecordsError, match=rf"run\.json {said}.*; redo the run with --force\.$"):
            read()


def test_what_is_absent_is_no_damage(tmp_path: Path) -> None:
    run = written(tmp_path)
    assert RunFolder(run).about.entries == GOOD
    (run / RUN_FILE).write_text("{}")
    assert RunFolder(run).about == RunAbout()
    assert run_states(tmp_path)[0].configuration == Configuration("alpha", "wanda", 50.0)


def test_a_run_that_tells_no_configuration_cannot_be_carried_on(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text(json.dumps({"format": FORMAT}))
    with pytest.raises(RecordsError, match="tells no configuration"):
        RunFolder(tmp_path).resumed()


def test_a_run_of_a_newer_version_says_so_to_every_reader(tmp_path: Path) -> None:
    run = written(tmp_path)
    (run / RUN_FILE).write_text(json.dumps(GOOD | {"format": FORMAT + 1}))
    said = rf"run\.json is of format {FORMAT + 1}, which is newer than .* reads \({FORMAT}\); update"
    for read in (RunFolder(run).resumed, RunFolder(run).finished, lambda: run_states(tmp_path)):
        with pytest.raises(RecordsError, match=said):
            read()
