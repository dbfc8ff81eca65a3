"""pruning_meta.json from outside: an entry of another kind is one sentence, for everyone who reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny_model

from mlx_prune.cards.card import write_card
from mlx_prune.cards.results import CardResults, Figure
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.cli.main import run
from mlx_prune.errors import CheckpointError
from mlx_prune.latency.models import Candidate, describe
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.runs.job import read_stamp
from mlx_prune.study.config import Bbq, Generation, Grid, StudyConfig
from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
from mlx_prune.study.runner import run_study

WRONG: dict[str, Any] = {
    "target_sparsity": "x",
    "actual_sparsity": "x",
    "method": 3,
    "model": ["m"],
    "zero_params": "x",
    "total_prunable_params": 1.5,
    "projections": 3,
    "pattern": 3,
    "calibration": 3,
    "quantization": 3,
    "versions": 3,
    "warnings": 3,
    "prune_time_s": True,
}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pruned")
    prune_checkpoint(save_tiny_model(place / "m", "llama"), place / "out", Recipe("magnitude", 0.5))
    return place / "out"


@pytest.fixture(scope="module")
def good(pruned: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pruned / "pruning_meta.json").read_text())
    return found


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_of_another_kind_is_told_to_every_reader(
    pruned: Path, good: dict[str, Any], name: str
) -> None:
    (pruned / "pruning_meta.json").write_text(json.dumps({**good, name: WRONG[name]}))
    opened = load(pruned, lazy=True)
    readers = (
        lambda: inspect(pruned),
        lambda: write_card(pruned),
        lambda: read_stamp(opened),
        lambda: describe(
            Candidate(opened.checkpoint, "a", "auto"), opened, sizes=False, progress=lambda _: None
        ),
    )
    for read in readers:
        with pytest.raises(CheckpointError, match=rf"pruning_meta\.json gives {name} as .*; prune"):
            read()


@pytest.mark.parametrize("name", ["target_sparsity", "zero_params"])
def test_a_card_needs_what_it_shows(pruned: Path, good: dict[str, Any], name: str) -> None:
    (pruned / "pruning_meta.json").write_text(json.dumps({**good, name: None}))
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        write_card(pruned)


def test_entries_a_later_version_or_another_tool_added_survive_a_rewrite(
    pruned: Path, good: dict[str, Any]
) -> None:
    (pruned / "pruning_meta.json").write_text(json.dumps({**good, "house": {"note": [1, None]}}))
    write_card(pruned, CardResults(srs=Figure(0.25)))
    found = json.loads((pruned / "pruning_meta.json").read_text())
    assert found.pop("results") == {"srs": {"value": 0.25}}
    assert list(found.items()) == [*good.items(), ("house", {"note": [1, None]})]


def test_figures_that_are_not_finite_are_null_in_the_file(tmp_path: Path) -> None:
    PruningRecord.of({"repair": {"blocks": [{"without": float("nan"), "repaired": 0.5}]}}).write(tmp_path)
    found = json.loads((tmp_path / "pruning_meta.json").read_text(), parse_constant=pytest.fail)
    assert found["repair"]["blocks"] == [{"without": None, "repaired": 0.5}]


def test_a_record_without_a_format_is_the_first(pruned: Path, good: dict[str, Any]) -> None:
    assert next(iter(good.items())) == ("format", 1)
    (pruned / "pruning_meta.json").write_text(json.dumps({k: v for k, v in good.items() if k != "format"}))
    record = PruningRecord.read(pruned)
    assert record.format == 1
    assert record.entries == good
    assert record.configuration.prune_method == "magnitude"


@pytest.mark.parametrize("number", [0, -1, "1", 1.5, None, True])
def test_a_format_that_never_was_is_damage(pruned: Path, good: dict[str, Any], number: Any) -> None:
    (pruned / "pruning_meta.json").write_text(json.dumps({**good, "format": number}))
    with pytest.raises(CheckpointError, match="gives format as"):
        PruningRecord.find(pruned)


NO_RECORD = "so it is not a checkpoint made by `mlxprune prune`"
SENTENCES = {
    "absent": NO_RECORD,
    "damaged": "pruning_meta.json is not valid JSON (Expecting value: line 1 column 2 (char 1)); "
    "prune again with --force, or delete the file.",
    "newer": "pruning_meta.json is of format 2, which is newer than this version of mlx-prune reads (1); "
    "update mlx-prune.",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of the embedded model with one kept checkpoint."""
    folder = tmp_path_factory.mktemp("study") / "study"
    config = StudyConfig(
        models=("demo",),
        grid=Grid(methods=("magnitude",), sparsities=(50.0,), patterns=()),
        bbq=Bbq("demo", limit=4),
        generation=Generation(seeds=(1,)),
        perplexity=PerplexityMeasure(enabled=False),
        latency=LatencyMeasure(enabled=False),
        save_checkpoints=True,
    )
    return run_study(config, folder)


@pytest.mark.parametrize("state", SENTENCES)
def test_every_command_says_the_same_of_a_record(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    shutil.copytree(study, tmp_path / "study")
    kept = tmp_path / "study" / "checkpoints" / "demo-magnitude-s50"
    asked = tmp_path / "study" / "runs" / "demo" / "magnitude-s50"
    model = ["--bbq", "demo", "--limit", "2", "--seeds", "1"]
    few = ["--items", 1, "--rounds", 1, "--cooldown", 0, "--no-sizes"]
    prune = ["prune", "demo", "-o", kept, "-m", "magnitude", "-s", "50"]
    # The commands that can do without a record are told apart from those that cannot.
    commands: dict[str, tuple[list[Any], Path, int]] = {
        "inspect": (["inspect", kept], kept, 0),
        "eval": (["eval", kept, "-o", tmp_path / "run", *model], kept, 0),
        "bench": (["bench", kept, kept, "-o", tmp_path / "bench", *few], kept, 0),
        "gate": (["gate", "demo", kept, *model, "--max-perplexity-rise", "off"], kept, 4),
        "publish": (["publish", kept, "me/model", "--dry-run"], kept, 1),
        "publish of a grid": (["publish", tmp_path / "study", "me", "--dry-run"], kept, 1),
        "quantize": (["prune", kept, "-o", tmp_path / "q4", "-m", "quantize"], kept, 0),
        "prune again": (prune, kept, 1),
        "report": (["report", tmp_path / "study"], asked, 0),
        "study": (["study", tmp_path / "study" / "study.toml", "-o", tmp_path / "study"], asked, 0),
        "publish with a run": (["publish", kept, "me/model", "--dry-run", "--run", asked], asked, 0),
    }
    whole = (kept / "pruning_meta.json").read_text()
    said = {"damaged": "[", "newer": json.dumps({"format": 2, "method": {"name": "wanda"}})}
    for name, (words, folder, code) in commands.items():
        for place in (kept, asked):
            (place / "pruning_meta.json").write_text(whole)
        (folder / "pruning_meta.json").unlink()
        if state != "absent":
            (folder / "pruning_meta.json").write_text(said[state])
        found, captured = run([str(word) for word in words]), capsys.readouterr()
        assert found == (code if state == "absent" else 1), (name, captured)
        if state != "absent":
            assert captured.err.count("pruning_meta.json") == 1, (name, captured.err)
            assert f"{folder}/{SENTENCES[state]}" in captured.err, (name, captured.err)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            {"projections": {"q": {"zeros": "x"}}},
            r"gives projections as \{'q': \{'zeros': 'x'\}\}; prune again",
        ),
        ({"projections": {"q": {"params": 1}}}, "lacks zeros; prune again"),
        ({"left_out": ["a", 3]}, r"gives left_out\.1 as 3; prune again"),
        ({"quantization": {"bits": "four"}}, r"gives quantization\.bits as 'four'; prune again"),
    ],
)
def test_an_entry_inside_of_another_is_told_with_its_place(
    tmp_path: Path, entries: dict[str, Any], said: str
) -> None:
    (tmp_path / "pruning_meta.json").write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match=said):
        PruningRecord.find(tmp_path)
