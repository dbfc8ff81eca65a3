"""Folders: whole or absent, recorded, and left alone once finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from block_memory import peaks_by_depth, save_deep_model
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.shards import INDEX_FILE, open_shards
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe

MAGNITUDE = StructuredRecipe("width", 0.5, scores="magnitude")


def test_the_folder_holds_all_that_loaders_need_and_what_was_done(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "qwen3", dtype="bfloat16", shards=2)
    recipe = StructuredRecipe("width", 0.5, calibration=calibration)
    report = prune_structured(source, tmp_path / "out", recipe)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "LICENSE"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    before, after = (
        json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "out")
    )
    assert after == {**before, "intermediate_size": 24}
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta == json.loads(json.dumps(report.to_json()))
    assert (meta["model"], meta["method"], meta["pattern"], meta["zero_params"]) == (
        str(source),
        "width",
        None,
        0,
    )
    assert (meta["target_sparsity"], meta["seed"], meta["statistics"]) == (50, 0, "sequential")
    assert meta["calibration"]["samples"] == 7
    total, left = (
        sum(linear.size for linear in prunable_linears(load(folder).model))
        for folder in (source, tmp_path / "out")
    )
    assert meta["total_prunable_params"] == total
    assert meta["actual_sparsity"] == pytest.approx(100 * (1 - left / total), abs=1e-5)
    assert "width" in (tmp_path / "out" / "README.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"m", "out"}


def test_sizes_before_and_after_are_those_of_the_files_and_of_hand_counts(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama", shards=2)
    report = prune_structured(source, tmp_path / "out", MAGNITUDE)
    for folder, which in ((source, "before"), (tmp_path / "out", "after")):
        shards = open_shards(folder)
        values = sum(int(np.prod(info.shape)) for info in shards.tensors.values())
        assert getattr(report.parameters, which) == values
        files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        assert getattr(report.bytes, which) == files
    config = json.loads((source / "config.json").read_text())
    vocabulary = config["vocab_size"]
    attention = 42 * 42 * 2 + 2 * 14 * 42 + 2 * 512 * 42
    assert report.flops_per_token.before == 3 * 2 * (attention + 3 * 42 * 53) + 2 * 42 * vocabulary
    assert report.flops_per_token.after == 3 * 2 * (attention + 3 * 42 * 24) + 2 * 42 * vocabulary
    rows = dict(report.rows())
    assert rows["MLP neurons per block"] == "53 -> 24"
    assert f"{report.parameters.before:,}" in rows["Parameters"]


def test_the_index_names_every_tensor_and_its_file(tmp_path, monkeypatch):
    source = save_tiny_model(tmp_path / "m", "llama", shards=3)
    monkeypatch.setattr("mlx_prune.checkpoint.writer._SHARD_BYTES", 40_000)
    prune_structured(source, tmp_path / "out", MAGNITUDE)
    shards = open_shards(tmp_path / "out")
    assert len(shards.files) > 1
    index = json.loads((tmp_path / "out" / INDEX_FILE).read_text())
    assert index["weight_map"] == {name: info.file.name for name, info in sorted(shards.tensors.items())}
    assert index["metadata"]["total_size"] == sum(info.nbytes for info in shards.tensors.values())
    model, _ = mlx_lm.load(str(tmp_path / "out"))
    assert mx.isfinite(model(mx.array([[1, 2, 3]]))).all()


def test_a_finished_folder_is_left_alone(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4)
    recipe = StructuredRecipe("depth", 0.5, repair=True, calibration=calibration)
    first = prune_structured(source, tmp_path / "out", recipe)
    written = (tmp_path / "out" / "model.safetensors").stat()
    again = prune_structured(source, tmp_path / "out", recipe)
    assert again == first
    assert (tmp_path / "out" / "model.safetensors").stat() == written
    with pytest.raises(CheckpointError, match="holds something else"):
        prune_structured(source, tmp_path / "out", replace(recipe, contiguous=True))
    prune_structured(source, tmp_path / "out", replace(recipe, contiguous=True), force=True)
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta["method"] == "depth+contiguous+repair"


def test_a_kill_leaves_nothing_under_the_name_and_the_next_try_starts_over(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    script = (
        "import os, signal, sys\n"
        "from mlx_prune import StructuredRecipe, prune_structured\n"
        "from mlx_prune.pruning.structure import prune\n"
        "prune._checked = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "prune_structured(sys.argv[1], sys.argv[2], StructuredRecipe('width', 0.5, scores='magnitude'))\n"
    )
    arguments = [sys.executable, "-c", script, str(source), str(tmp_path / "out")]
    killed = subprocess.run(arguments, check=False, env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    prune_structured(source, tmp_path / "out", MAGNITUDE)
    assert {path.name for path in tmp_path.iterdir()} == {"m", "out"}


def test_a_wrong_result_is_never_published(tmp_path, monkeypatch):
    source = save_tiny_model(tmp_path / "m", "llama")
    from mlx_prune.pruning.structure import cuts

    def another(cut, values, units):
        return cuts.mx.take(values, cuts.mx.arange(cut.kept(units).size), axis=cut.axis)

    monkeypatch.setattr(cuts.Cut, "take", another)
    recipe = replace(MAGNITUDE, multiple=1)
    # Rows and columns agree with each other here, but not with the columns that were reported as kept.
    with pytest.raises(RecipeError, match="would compute something else"):
        prune_structured(source, tmp_path / "out", recipe)
    assert {path.name for path in tmp_path.iterdir()} == {"m"}


def test_a_compute_type_that_would_be_ignored_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    with pytest.raises(RecipeError, match="dtype float32 would be ignored"):
        prune_structured(source, tmp_path / "out", MAGNITUDE, dtype="float32")


def test_the_source_cannot_be_the_output(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    with pytest.raises(CheckpointError, match="give another output folder"):
        prune_structured(source, source, MAGNITUDE, force=True)


def test_a_full_disk_is_refused_before_the_start(tmp_path, monkeypatch):
    source = save_tiny_model(tmp_path / "m", "llama")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("mlx_prune.checkpoint.folder.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match="free some space"):
        prune_structured(source, tmp_path / "out", MAGNITUDE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["width", "depth"])
def test_peak_memory_does_not_grow_with_depth(tmp_path, method, calibration):
    recipe = StructuredRecipe(method, 0.5, calibration=calibration, repair=method == "depth")
    peaks, block = peaks_by_depth(
        (3, 24),
        lambda depth: save_deep_model(tmp_path / str(depth), depth),
        lambda source, depth: prune_structured(source, tmp_path / f"out-{depth}", recipe),
    )
    # Depth holds a second state of the calibration text besides, how long depends on the blocks that go.
    assert peaks[24] < 5 * block
