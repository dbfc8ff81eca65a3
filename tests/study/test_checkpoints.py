"""Studies of checkpoints that are there already: names, records, resumption, report and gate."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from tiny_models import CHAT_TEMPLATE, save_tiny_model
from watched_study import states

from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.cli.main import run
from mlx_prune.configuration import Configuration
from mlx_prune.errors import CheckpointError, DataError, RecipeError, RecordsError
from mlx_prune.pruning.job import write_pruned
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.quantizing import quantize_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.report.data import read_study
from mlx_prune.report.write import write_report
from mlx_prune.runs.folder import RunFolder
from mlx_prune.study.card_results import results_of_runs, results_of_study
from mlx_prune.study.config import Bbq, Generation, Grid, StudyConfig, config_from_dict, config_to_dict
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
from mlx_prune.study.rows import StudyCheckpoint, StudyModel
from mlx_prune.study.runner import run_study

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    """A dense model, one of ours with zeros, one in four bits that tells nothing, and a stranger."""
    folder = tmp_path_factory.mktemp("models")
    dense = save_tiny_model(folder / "base", "llama", **SIZES, **HEADS)
    write_pruned(dense, folder / "zeros", Recipe("magnitude", 0.5))
    quantize_checkpoint(dense, folder / "four", Quantization(bits=4, group_size=32))
    (folder / "four" / "pruning_meta.json").unlink()
    template = CHAT_TEMPLATE.replace("<|assistant|>", "<|assistant|>\n\n")
    save_tiny_model(folder / "other", "mistral", chat_template=template, seed=3)
    return StudyConfig(
        models=(StudyModel(str(dense), "base model"),),
        grid=Grid(methods=()),
        checkpoints=tuple(
            StudyCheckpoint(name, str(folder / path))
            for name, path in (("half 50", "zeros"), ("bits-4", "four"), ("stranger", "other"))
        ),
        bbq=Bbq("demo", limit=60),
        generation=Generation(seeds=(1, 2)),
        perplexity=PerplexityMeasure(text="demo", sequences=2, sequence_length=32),
        latency=LatencyMeasure(enabled=False),
    )


@pytest.fixture(scope="module")
def study(config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study(config, tmp_path_factory.mktemp("study"))


def test_rows_of_a_study_may_be_checkpoints_under_names_of_ones_own(config: StudyConfig, study: Path) -> None:
    data = read_study(study)
    names = [run.configuration.name for run in data.runs]
    assert names == ["dense", "bits-4", "half 50", "stranger"]
    assert {run.configuration.model for run in data.runs} == {"base model"}
    assert len(data.perplexity) == len(data.size_bytes) == 4
    sparsity = {run.configuration.name: run.actual_sparsity for run in data.runs}
    assert sparsity["half 50"] == pytest.approx(50, abs=0.5)
    folder = Path(config.checkpoints[1].path)
    # The one that tells nothing of itself is counted as it dequantizes.
    assert sparsity["bits-4"] == pytest.approx(100 * inspect(folder).actual_sparsity)
    assert data.size_bytes[Configuration("base model", "bits-4")] == sum(
        file.stat().st_size for file in folder.glob("*.safetensors")
    )
    record = RunFolder(study / "runs" / "base model" / "half 50-s0").pruned
    assert record is not None
    assert (record.method, record.target_sparsity, record.model) == ("magnitude", 50.0, "base model")


def test_what_makes_a_checkpoint_hard_to_compare_is_said(study: Path) -> None:
    said = {
        run.path.name: run.differences for run in map(RunFolder, (study / "runs" / "base model").iterdir())
    }
    assert said["half 50-s0"] == said["bits-4-s0"] == ()
    architecture, template = said["stranger-s0"]
    assert "another architecture (mistral) than base model (llama)" in architecture
    assert "another chat template" in template
    assert "vocabulary" not in template


def test_card_of_a_checkpoint_shows_what_a_study_measured_under_its_name(
    config: StudyConfig, study: Path
) -> None:
    record, runs = PruningRecord.read(Path(config.checkpoints[0].path)), study / "runs" / "base model"
    found = results_of_study(study, record)
    assert found is not None
    assert found.perplexity is not None
    assert found.perplexity.dense == pytest.approx(read_study(study).perplexity[Configuration("base model")])
    assert found.items == results_of_runs(record, runs / "half 50-s0", runs / "dense-s0").items
    with pytest.raises(RecordsError, match="another model"):
        results_of_runs(record, runs / "bits-4-s0")


def test_perplexity_on_other_tokens_is_kept_and_not_compared(config: StudyConfig, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "merged", "llama", **SIZES, **HEADS, seed=1)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": "e"},
        "behavior": "Isolated",
        "invert": False,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    other = dataclasses.replace(config, checkpoints=(StudyCheckpoint("elsewise", str(folder)),))
    study = run_study(dataclasses.replace(other, bbq=Bbq("demo", limit=4)), tmp_path / "study")
    dense, elsewise = Configuration("base model"), Configuration("base model", "elsewise")
    (warning,) = RunFolder(study / "runs" / "base model" / "elsewise-s0").differences
    assert "so it is not compared" in warning
    assert StudyFolder(study).perplexities.get(elsewise) is not None
    data = read_study(study)
    assert set(data.perplexity) == set(data.perplexities) == set(data.perplexity_interval) == {dense}


def test_finished_checkpoints_are_not_measured_again_unless_their_weights_changed(
    config: StudyConfig, study: Path, tmp_path: Path
) -> None:
    mine = shutil.copytree(study, tmp_path / "study")
    there = [("dense-s0", "there"), ("half 50-s0", "there"), ("bits-4-s0", "there"), ("stranger-s0", "there")]
    assert states(config, mine) == there
    zeros = config.checkpoints[0]
    moved = shutil.copytree(zeros.path, tmp_path / "moved")
    elsewhere = dataclasses.replace(config, checkpoints=(dataclasses.replace(zeros, path=str(moved)),))
    assert states(elsewhere, mine) == there[:2]
    other = dataclasses.replace(zeros, path=config.checkpoints[1].path)
    with pytest.raises(RecordsError, match="other weights than those that half 50 was measured on"):
        run_study(dataclasses.replace(config, checkpoints=(other,)), mine)
    more = StudyCheckpoint("again", str(moved))
    grown = dataclasses.replace(config, checkpoints=(zeros, more), grid=Grid(("q8",)))
    assert states(grown, mine) == [*there[:2], ("q8-s0", "done"), ("again-s0", "done")]


def test_report_and_gate_call_checkpoints_by_their_names(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_report(study)
    page = paths.page.read_text(encoding="utf-8")
    for name in ("half 50", "bits-4", "stranger"):
        assert name in page
        assert f"{name} 0 %" not in page
    assert "another architecture (mistral)" in page
    assert "3 changed versions" in " ".join(paths.finding.sentences)
    assert "pruned model" not in " ".join(paths.finding.meaning)
    capsys.readouterr()
    code = run(["gate", str(study), "--candidate", "half 50", "--json", "--max-unanswered", "off"])
    printed = json.loads(capsys.readouterr().out)
    assert code in (0, 1, 3, 4)
    assert printed["candidates"][0]["candidate"] == "base model/half 50-s0"


@pytest.mark.parametrize(
    "name", ["wanda", "Q4", "dense", "wanda+q4", "", "a/b", ".hidden", "a,b", "x" * 61, "a\n"]
)
def test_names_that_mean_something_else_or_fit_no_folder_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"another name|cannot be a name"):
        StudyCheckpoint(name, "somewhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"checkpoints": [{"name": "a", "path": "x"}, {"name": "A", "path": "y"}]},
            "two checkpoints are called",
        ),
        ({"checkpoints": [{"name": "a", "path": "x", "model": "c"}]}, "is no model of this study"),
        ({"models": ["m", "n"], "checkpoints": [{"name": "a", "path": "x"}]}, "does not say which model"),
        ({"checkpoints": [{"name": "a"}]}, "checkpoints lacks path"),
        ({"models": ["m", {"path": "m", "name": "twice"}]}, "named twice"),
    ],
)
def test_rows_that_do_not_go_together_are_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        config_from_dict({"models": ["m"], **content})


def test_models_are_named_in_any_of_three_ways_and_survive_the_round_trip() -> None:
    rows = [{"name": "x", "path": "there", "model": "b"}]
    for models in (
        ["a", {"path": "org/b", "name": "b"}],
        [{"path": "a"}, {"path": "org/b", "name": "b"}],
        {"a": "a", "b": "org/b"},
    ):
        config = config_from_dict({"models": models, "grid": {"methods": []}, "checkpoints": rows})
        assert [model.label for model in config.models] == ["a", "b"]
        assert config_from_dict(config_to_dict(config)) == config
        assert config.configurations("a") == [Configuration("a")]
        assert config.configurations("b") == [Configuration("b"), Configuration("b", "x")]


def test_a_checkpoint_that_is_not_there_is_told_before_anything_runs(
    config: StudyConfig, tmp_path: Path
) -> None:
    absent = dataclasses.replace(config, checkpoints=(StudyCheckpoint("gone", str(tmp_path / "gone")),))
    with pytest.raises(CheckpointError, match="no model folder"):
        run_study(absent, tmp_path / "study")
    assert not (tmp_path / "study").exists()
