"""Studies: what they leave on the disk, that they carry on, and that they may grow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from record_tables import assert_same_records
from tiny_models import save_tiny_model
from watched_study import states

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.report.data import read_study
from mlx_prune.runs.records import read_records
from mlx_prune.study.config import Bbq, Generation, Grid, StudyConfig, config_from_dict
from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
from mlx_prune.study.plan import plan_study
from mlx_prune.study.presets import names, preset
from mlx_prune.study.runner import run_study


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    model = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")
    return StudyConfig(
        models=(str(model),),
        grid=Grid(methods=("magnitude", "wanda"), sparsities=(50.0,), patterns=("2:4",)),
        calibration=Calibration("demo", samples=2, sequence_length=32),
        bbq=Bbq("demo", limit=10),
        generation=Generation(seeds=(1, 2)),
        perplexity=PerplexityMeasure(text="demo", sequences=2, sequence_length=32),
        latency=LatencyMeasure(items=8, rounds=2),
    )


def test_a_study_leaves_everything_and_does_nothing_twice(config: StudyConfig, tmp_path: Path) -> None:
    folders = ["dense-s0", "magnitude-s50", "magnitude-s50-2of4", "wanda-s50", "wanda-s50-2of4"]
    assert states(config, tmp_path) == [(folder, "done") for folder in folders]
    study = read_study(tmp_path)
    assert len(study.runs) == len(study.perplexity) == 5
    for run in study.runs[1:]:
        # Odd row lengths leave a little less than the half.
        assert run.actual_sparsity == pytest.approx(50, abs=1.5)
    latency = json.loads((tmp_path / "latency.json").read_text())["results"]
    assert {(row["prune_method"], row["pattern"]) for row in latency} == {
        ("magnitude", None),
        ("magnitude", "2:4"),
        ("wanda", None),
        ("wanda", "2:4"),
    }
    assert all(0.2 < row["ratio"] < 5 for row in latency)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert states(config, tmp_path) == [(folder, "there") for folder in folders]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before

    grown = dataclasses.replace(config, grid=dataclasses.replace(config.grid, sparsities=(50.0, 25.0)))
    assert [folder for folder, state in states(grown, tmp_path) if state == "done"] == [
        "magnitude-s25",
        "wanda-s25",
    ]
    other = dataclasses.replace(config, generation=Generation(seeds=(1, 3)))
    with pytest.raises(RecordsError, match=r"generation\.seeds"):
        run_study(other, tmp_path)


def test_a_lost_measure_is_made_up_without_new_records(config: StudyConfig, tmp_path: Path) -> None:
    small = dataclasses.replace(config, grid=Grid(methods=("magnitude",), sparsities=(50.0,)))
    run_study(small, tmp_path)
    records = sorted(tmp_path.rglob("*.parquet"))
    first = read_study(tmp_path).perplexity
    # A mask leaves the dense model's size.
    assert len(set(read_study(tmp_path).size_bytes.values())) == 1
    assert len(read_study(tmp_path).size_bytes) == 2
    (tmp_path / "perplexity.json").unlink()
    assert states(small, tmp_path) == [("dense-s0", "done"), ("magnitude-s50", "done")]
    assert read_study(tmp_path).perplexity == pytest.approx(first, rel=1e-5)
    assert sorted(tmp_path.rglob("*.parquet")) == records


def test_pruning_inside_a_study_equals_pruning_alone(config: StudyConfig, tmp_path: Path) -> None:
    grid = Grid(methods=("random", "wanda"), sparsities=(30.0,), statistics="dense", seed=5)
    saving = dataclasses.replace(config, grid=grid, save_checkpoints=True)
    saving = dataclasses.replace(saving, latency=LatencyMeasure(enabled=False))
    run_study(saving, tmp_path)
    for method in ("random", "wanda"):
        alone = load(config.models[0].path)
        wanda = method == "wanda"
        recipe = Recipe(
            method,
            0.3,
            statistics="dense" if wanda else None,
            seed=5,
            calibration=config.calibration if wanda else None,
        )
        prune(alone, recipe)
        folder = tmp_path / "checkpoints" / f"tiny-{method}-s30"
        saved = load(folder)
        assert "SRS" in (folder / "README.md").read_text()
        for ours, theirs in zip(prunable_linears(alone.model), prunable_linears(saved.model), strict=True):
            np.testing.assert_array_equal(np.array(ours.module.weight), np.array(theirs.module.weight))


def test_the_dense_run_is_not_touched_by_pruning(config: StudyConfig, tmp_path: Path) -> None:
    only = dataclasses.replace(config, latency=LatencyMeasure(enabled=False))
    run_study(only, tmp_path / "grid")
    alone = dataclasses.replace(only, grid=Grid(methods=(), sparsities=(), patterns=()))
    run_study(alone, tmp_path / "alone")
    run = Path("runs", "tiny", "dense-s0")
    assert_same_records(read_records(tmp_path / "grid" / run), read_records(tmp_path / "alone" / run))


def test_models_of_one_name_and_damaged_studies_are_refused(config: StudyConfig, tmp_path: Path) -> None:
    (model,) = config.paths
    twice = dataclasses.replace(config, models=(model, f"{model}/../tiny"))
    with pytest.raises(DataError, match="share the name tiny"):
        run_study(twice, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "study.toml").write_text("models = [")
    with pytest.raises(RecordsError, match="damaged"):
        run_study(config, tmp_path / "b")


def test_a_plan_counts_what_is_left_and_writes_nothing(config: StudyConfig, tmp_path: Path) -> None:
    plan = plan_study(config, tmp_path)
    (model,) = plan.models
    assert (model.configurations, model.unfinished) == (5, 5)
    assert plan.records == 5 * 10 * 2
    assert plan.seconds is None
    assert plan_study(config, tmp_path, measure=True).seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_presets_are_valid_and_the_published_one_has_its_records() -> None:
    assert set(names()) == {"aiiot2026", "demo", "frontier", "smollm2"}
    published = preset("aiiot2026")
    assert len(published.configurations("any")) * len(published.models) * 12_148 * 5 == 2_368_860
    assert preset("demo") == config_from_dict({"models": ["demo"], **_without_models(preset("demo"))})
    with pytest.raises(DataError, match="no preset 'demos'"):
        preset("demos")


def test_a_preset_takes_another_model_and_other_data() -> None:
    given = preset("smollm2").with_sources(model="mine", bbq="questions", calibration="a.txt", text="b.txt")
    assert (given.paths, given.bbq.source) == (("mine",), "questions")
    assert (given.calibration.source, given.perplexity.text) == ("a.txt", "b.txt")
    assert given.bbq.limit == preset("smollm2").bbq.limit
    assert preset("smollm2").with_sources() == preset("smollm2")
    with pytest.raises(DataError, match="has 3 models, of which --model would replace one"):
        preset("aiiot2026").with_sources(model="mine")


def _without_models(config: StudyConfig) -> dict[str, object]:
    from mlx_prune.study.config import config_to_dict

    return {key: value for key, value in config_to_dict(config).items() if key != "models"}


def test_items_and_texts_are_read_and_tokenized_once_for_all_models(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlx_prune.runs.perplexity
    import mlx_prune.runs.questions
    import mlx_prune.study.work

    calls: list[str] = []

    def counted(module: object, name: str) -> None:
        original = getattr(module, name)

        def call(*given: object, **named: object) -> object:
            calls.append(name)
            return original(*given, **named)

        monkeypatch.setattr(module, name, call)

    counted(mlx_prune.runs.questions, "load_items")
    counted(mlx_prune.runs.questions, "PromptBuilder")
    counted(mlx_prune.runs.perplexity, "_sequences")
    counted(mlx_prune.study.work, "load_items")
    grid = Grid(methods=("magnitude", "width"), sparsities=(50.0,))
    text = tmp_path / "text.txt"
    text.write_text("Nobody has read this text before. " * 40)
    measured = PerplexityMeasure(text=str(text), sequences=2, sequence_length=16)
    run_study(dataclasses.replace(config, grid=grid, perplexity=measured), tmp_path / "study")
    assert sorted(calls) == ["PromptBuilder", "_sequences", "load_items", "load_items"]
