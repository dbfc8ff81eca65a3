"""Methods that are trained back, as rows of a study."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tiny_models import save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError, RecipeError
from mlx_prune.recovery import training
from mlx_prune.recovery.job import recover
from mlx_prune.runs.settings import Bbq, Generation
from mlx_prune.study.config import Grid, RecoverStep, StudyConfig, config_to_dict
from mlx_prune.study.data import with_named_data
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
from mlx_prune.study.runner import differences, run_study


def config_of(model: Path, *methods: str, text: str | None = "demo", **recover: object) -> StudyConfig:
    settings = {"steps": 4, "rank": 2, "batch_size": 2, "sequence_length": 32, "first_step": "none"}
    return StudyConfig(
        models=(str(model),),
        grid=Grid(methods=methods, sparsities=(50.0,)),
        calibration=Calibration(text, samples=2, sequence_length=32),
        recover=RecoverStep(**settings | recover),
        bbq=Bbq("demo", limit=10),
        generation=Generation(seeds=(1, 2)),
        perplexity=PerplexityMeasure(text="demo", sequences=2, sequence_length=32),
        latency=LatencyMeasure(enabled=False),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


def test_a_pruned_model_and_its_recovery_stand_side_by_side(model: Path, tmp_path: Path) -> None:
    run_study(config_of(model, "magnitude", "magnitude+recover"), tmp_path)
    folder = StudyFolder(tmp_path)
    pruned, recovered = (
        folder.run(Configuration("tiny", method, 50.0)).pruned
        for method in ("magnitude", "magnitude+recover")
    )
    assert pruned.zero_params == recovered.zero_params
    assert pruned.recovery is None
    assert recovered.recovery.teacher == str(model)
    assert recovered.recovery.data["source"] == "demo"
    assert not folder.work.exists()


def test_a_study_that_was_stopped_in_a_training_carries_it_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_STATES", -1.0)
    monkeypatch.setattr(training, "_TIMES_OF_A_STATE", 0.0)
    config = config_of(model, "magnitude+recover")

    def stopping(report: object) -> None:
        if report.stage.endswith("recover") and report.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(config, tmp_path, progress=stopping)
    told = []
    run_study(config, tmp_path, progress=told.append)
    assert [report.done for report in told if report.stage.endswith("recover")] == [3, 4]


def test_a_kept_recovery_is_what_the_command_makes_of_the_kept_pruning(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config_of(model, "magnitude", "magnitude+recover"), save_checkpoints=True)
    wrote = []

    def watched(*given, **named):
        wrote.append(given)
        return recover(*given, **named)

    monkeypatch.setattr("mlx_prune.recovery.job.recover", watched)
    run_study(config, tmp_path)
    kept = tmp_path / "checkpoints" / "tiny-magnitude+recover-s50"
    assert wrote[0][0].path == tmp_path / "checkpoints" / "tiny-magnitude-s50"
    assert inspect(kept).disagreements == ()
    assert "**Recovery**" in (kept / "README.md").read_text()


def test_adapters_beside_few_bits_are_a_configuration_of_their_own(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "head_dim": 16}
    model = save_tiny_model(tmp_path / "tiny", "llama", **sizes)
    methods = ("q2", "q2+recover", "magnitude+q4+recover")
    run_study(config_of(model, *methods), tmp_path / "study")
    folder = StudyFolder(tmp_path / "study")
    runs = [folder.run(Configuration("tiny", method)) for method in methods[:2]]
    assert runs[1].pruned.recovery.adapter_bytes > 0
    assert runs[1].pruned.method == "q2+recover"
    found = [folder.sizes.get(Configuration("tiny", method)).size_bytes for method in methods[:2]]
    assert found[1] == found[0] + runs[1].pruned.recovery.adapter_bytes
    pruned = folder.run(Configuration("tiny", methods[2], 50.0)).pruned
    assert pruned.quantization.bits == 4
    assert pruned.recovery.loss == "distill"
    assert not folder.work.exists()


def test_weights_of_few_bits_are_not_trained_themselves(model: Path) -> None:
    with pytest.raises(RecipeError, match=r"\[recover\] full trains weights, and those of q4\+recover"):
        config_of(model, "q4+recover", full=True)


def test_settings_of_a_recovery_are_a_studys_own(model: Path) -> None:
    config = config_of(model, "magnitude+recover")
    found = config_to_dict(config)
    assert found["recover"]["steps"] == 4
    assert differences(found, config_of(model, "magnitude+recover", steps=9)) == [
        "recover.steps: there 4, now 9"
    ]
    without = config_to_dict(config_of(model, "magnitude"))
    assert "recover" not in without
    assert differences(without, config) == []


def test_what_is_learned_from_must_be_named(model: Path) -> None:
    with pytest.raises(DataError, match=r"calibration text for .* must be named"):
        with_named_data(config_of(model, "magnitude+recover", text=None))
    named = with_named_data(config_of(model, "magnitude+recover", text=None, data="text.txt"))
    assert named.recover.data == "text.txt"
