"""Studies over methods of every kind: zeros, structure and bits in one grid, measured as files would be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_experts import save_tiny_experts
from tiny_models import save_tiny_model
from watched_study import states

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.experts.recipe import SCORES
from mlx_prune.pruning.job import prune_and_quantize, write_pruned
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.quantizing import quantize_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structured_recipe import StructuredRecipe
from mlx_prune.report.data import read_study
from mlx_prune.report.write import report_tables
from mlx_prune.runs.fingerprint import model_fingerprint
from mlx_prune.study.config import Bbq, Generation, Grid, StudyConfig
from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
from mlx_prune.study.plan import plan_study
from mlx_prune.study.presets import preset
from mlx_prune.study.runner import run_study

METHODS = ("magnitude", "q4-g32", "magnitude+q4-g32", "width", "depth+mxfp4")
FOLDERS = [
    "dense-s0",
    "magnitude-s50",
    "magnitude-s50-2of4",
    "q4-g32-s0",
    "magnitude+q4-g32-s50",
    "magnitude+q4-g32-s50-2of4",
    "width-s50",
    "depth+mxfp4-s50",
]
TEXT = Calibration("demo", samples=2, sequence_length=32)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    model = save_tiny_model(tmp_path_factory.mktemp("models") / "even", "llama", **sizes, **heads)
    return StudyConfig(
        models=(str(model),),
        grid=Grid(methods=METHODS, sparsities=(50.0,), patterns=("2:4",)),
        calibration=TEXT,
        bbq=Bbq("demo", limit=4),
        generation=Generation(seeds=(1,)),
        perplexity=PerplexityMeasure(text="demo", sequences=2, sequence_length=32),
        latency=LatencyMeasure(enabled=False),
    )


def test_every_kind_of_method_is_measured_on_what_its_files_would_hold(
    config: StudyConfig, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    assert states(config, study) == [(folder, "done") for folder in FOLDERS]
    assert states(config, study) == [(folder, "there") for folder in FOLDERS]
    assert not (study / ".work").exists()
    assert not (study / "checkpoints").exists()

    model, four = config.models[0].path, Quantization(bits=4, group_size=32)
    alone = tmp_path / "alone"
    quantize_checkpoint(model, alone / "q4-g32-s0", four)
    pattern = Recipe("magnitude", pattern="2:4")
    prune_and_quantize(model, alone / "magnitude+q4-g32-s50-2of4", pattern, four)
    width = StructuredRecipe("width", 0.5, statistics="sequential", seed=0, calibration=TEXT)
    write_pruned(model, alone / "width-s50", width)
    depth = StructuredRecipe("depth", 0.5, seed=0, calibration=TEXT)
    prune_and_quantize(model, alone / "depth+mxfp4-s50", depth, Quantization("mxfp4"))
    for folder in alone.iterdir():
        about = json.loads((study / "runs" / "even" / folder.name / "run.json").read_text())
        assert about["configuration"]["weights"] == model_fingerprint(load(folder).model)
        recorded = json.loads((study / "runs" / "even" / folder.name / "pruning_meta.json").read_text())
        made = json.loads((folder / "pruning_meta.json").read_text())
        for key in ("method", "target_sparsity", "actual_sparsity", "zero_params", "pattern"):
            assert recorded[key] == made[key]
        assert recorded["model"] == "even"

    data = read_study(study)
    sizes = {c.prune_method: size for c, size in data.size_bytes.items()}
    assert len(data.size_bytes) == len(data.perplexity) == len(FOLDERS)
    assert sizes["magnitude"] == sizes["dense"] == (Path(model) / "model.safetensors").stat().st_size
    assert sizes["width"] == (alone / "width-s50" / "model.safetensors").stat().st_size < sizes["dense"]
    assert sizes["magnitude+q4-g32"] == sizes["q4-g32"] < sizes["dense"] / 3
    assert sizes["depth+mxfp4"] < sizes["q4-g32"]


def test_a_mixture_loses_experts_by_every_score_in_one_grid(config: StudyConfig, tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "moe_intermediate_size": 32}
    model = save_tiny_experts(tmp_path / "mixture", "qwen3_moe", **sizes)
    words = ("", "+ean", "+frequency", "+weight-norm", "+random", "+unguarded", "+random+q4-g32")
    methods = tuple(f"experts{word}" for word in words)
    grid = Grid(methods=methods, sparsities=(40.0,), seed=3)
    run_study(dataclasses.replace(config, models=(str(model),), grid=grid), tmp_path / "study")
    data = read_study(tmp_path / "study")
    size = {c.prune_method: value for c, value in data.size_bytes.items()}
    assert size.keys() == {"dense", *methods}
    assert all(size[method] < size["dense"] for method in methods)
    assert size["experts+random+q4-g32"] < size["experts"] / 2
    runs = tmp_path / "study" / "runs" / "mixture"
    meta = {m: json.loads((runs / f"{m}-s40" / "pruning_meta.json").read_text()) for m in methods[:-1]}
    assert [meta[method]["score"] for method in methods[:5]] == list(SCORES)
    assert (meta["experts+random"]["seed"], meta["experts+random"]["calibration"]) == (3, None)
    tables = report_tables(tmp_path / "study")
    frontier = {row["prune_method"]: row for row in tables["frontier"].rows}
    assert all(frontier[method]["size_ratio"] < 1 for method in methods)


def test_saved_checkpoints_are_kept_with_their_figures_and_serve_the_next_step(
    config: StudyConfig, tmp_path: Path
) -> None:
    grid = Grid(methods=("magnitude", "magnitude+mxfp4", "depth"), sparsities=(50.0,))
    saving = dataclasses.replace(config, grid=grid, save_checkpoints=True)
    run_study(saving, tmp_path)
    names = {"even-magnitude-s50", "even-magnitude+mxfp4-s50", "even-depth-s50"}
    assert {folder.name for folder in (tmp_path / "checkpoints").iterdir()} == names
    for name in names:
        folder = tmp_path / "checkpoints" / name
        results = json.loads((folder / "pruning_meta.json").read_text())["results"]
        assert results["perplexity"]["value"] != results["perplexity"]["dense"]
        assert results["size_bytes"]["value"] == (folder / "model.safetensors").stat().st_size
        assert load(folder).model is not None
    (tmp_path / "sizes.json").unlink()
    found = dict(states(saving, tmp_path))
    # Masks have the dense model's size; the others are measured from their folders again.
    assert found["magnitude-s50"] == "there"
    assert found["depth-s50"] == "done"
    assert len(read_study(tmp_path).size_bytes) == 4


def test_latency_is_measured_against_the_dense_model_for_every_kind(
    config: StudyConfig, tmp_path: Path
) -> None:
    timed = dataclasses.replace(
        config,
        grid=Grid(methods=("depth", "q8"), sparsities=(50.0,)),
        perplexity=PerplexityMeasure(enabled=False),
        latency=LatencyMeasure(items=2, rounds=2),
    )
    run_study(timed, tmp_path)
    rows = json.loads((tmp_path / "latency.json").read_text())["results"]
    assert {(row["prune_method"], row["sparsity"]) for row in rows} == {("depth", 50.0), ("q8", 0.0)}
    assert all(row["ratio"] > 0 for row in rows)


def test_where_two_models_do_not_fit_the_dense_one_goes_and_the_figures_stay(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(
        config,
        grid=Grid(methods=("magnitude", "q8", "depth"), sparsities=(50.0,)),
        latency=LatencyMeasure(items=2, rounds=1),
    )
    run_study(dataclasses.replace(small, latency=LatencyMeasure(enabled=False)), tmp_path / "room")
    monkeypatch.setattr("mlx_prune.study.models.physical_memory", lambda: 1)
    run_study(small, tmp_path / "tight")
    room, tight = (read_study(tmp_path / folder).perplexity for folder in ("room", "tight"))
    assert room == pytest.approx(tight, rel=1e-5)
    rows = json.loads((tmp_path / "tight" / "latency.json").read_text())["results"]
    assert len(rows) == 3
    assert all(row["ratio"] is None and "do not fit" in row["note"] for row in rows)


def test_a_plan_knows_every_kind_of_method(config: StudyConfig, tmp_path: Path) -> None:
    (model,) = plan_study(config, tmp_path).models
    assert model.configurations == model.unfinished == len(FOLDERS)
    (saved,) = plan_study(dataclasses.replace(config, save_checkpoints=True), tmp_path).models
    assert saved.disk_bytes > model.disk_bytes


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (("wanda+q5",), "no quantization"),
        (("wand",), "did you mean 'wanda'"),
        (("dense",), "always part of a study"),
        (("q4", "q4"), "named twice"),
    ],
)
def test_methods_that_are_none_are_refused_before_anything_runs(
    methods: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        StudyConfig(models=("demo",), grid=Grid(methods=methods))


def test_the_frontier_preset_holds_every_kind_of_method() -> None:
    folders = [name.folder for name in preset("frontier").configurations("demo")]
    assert len(folders) == len(set(folders)) == 17
    for one in ("sparsegpt-s50-2of4", "wanda+owl-s50", "width+repair-s50", "depth-s50", "q4-s0"):
        assert one in folders
    assert "wanda+owl-s50-2of4" not in folders
