"""Streaming: any interruption, then the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tiny_models import save_tiny_model, weight_files

from mlx_prune.activations import hidden
from mlx_prune.checkpoint import writer
from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning import on_disk as stream
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe

KINDS = ["random", "magnitude", "sequential", "dense", "sparsegpt"]


def make_recipe(kind, calibration, sparsity=0.5):
    if kind in ("random", "magnitude"):
        return Recipe(kind, sparsity)
    if kind == "sparsegpt":
        return Recipe(kind, sparsity, calibration=calibration)
    return Recipe("wanda", sparsity, statistics=kind, calibration=calibration)


class Stop(Exception):
    pass


def stop_after(block):
    def progress(told):
        if told.done == block:
            raise Stop

    return progress


@pytest.mark.parametrize("mode", ["memory", "snapshots", "disk"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_prune_carries_on_to_the_same_bytes(tmp_path, kind, mode, calibration, monkeypatch):
    if mode == "snapshots":
        monkeypatch.setattr(hidden, "_SECONDS_BETWEEN_SNAPSHOTS", -1.0)
    limit = 0 if mode == "disk" else stream.HIDDEN_LIMIT
    source = save_tiny_model(tmp_path / "m", "gemma2", num_hidden_layers=5, shards=3, dtype="bfloat16")
    recipe = make_recipe(kind, calibration)
    whole = prune_checkpoint(source, tmp_path / "whole", recipe)
    for block in (1, 3, 4):
        with pytest.raises(Stop):
            prune_checkpoint(source, tmp_path / "out", recipe, hidden_limit=limit, progress=stop_after(block))
        assert not (tmp_path / "out").exists()
    told = []
    resumed = prune_checkpoint(source, tmp_path / "out", recipe, hidden_limit=limit, progress=told.append)
    assert [p.done for p in told] == [4, 5]
    assert weight_files(tmp_path / "out") == weight_files(tmp_path / "whole")
    assert resumed.matrices == whole.matrices
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "out", "whole"]
    assert not [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(("hidden", "prune-state"))]


@pytest.mark.parametrize("limit", [0, stream.HIDDEN_LIMIT])
def test_outliers_are_measured_once_however_often_it_is_stopped(tmp_path, limit, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4, dtype="bfloat16")
    recipe = Recipe("sparsegpt", 0.5, calibration=calibration, allocation="owl")
    again = {"hidden_limit": limit, "cache": False}
    whole = prune_checkpoint(source, tmp_path / "whole", recipe, **again)

    def stop_in(stage, done):
        def progress(told):
            if (told.stage, told.done) == (stage, done):
                raise Stop

        return progress

    for stage, done in (("calibrate", 2), ("prune", 1), ("prune", 3)):
        with pytest.raises(Stop):
            prune_checkpoint(source, tmp_path / "out", recipe, **again, progress=stop_in(stage, done))
    told = []
    resumed = prune_checkpoint(source, tmp_path / "out", recipe, **again, progress=told.append)
    assert [(p.stage, p.done) for p in told] == [("prune", 3), ("prune", 4)]
    assert weight_files(tmp_path / "out") == weight_files(tmp_path / "whole")
    assert resumed.allocation == whole.allocation
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


@pytest.mark.parametrize("kind", ["magnitude", "sequential"])
def test_a_killed_process_leaves_nothing_half_written(tmp_path, kind, calibration, calibration_file):
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=6, shards=2)
    code = f"""
        import os, signal
        from mlx_prune import Calibration, Recipe, prune_checkpoint
        from mlx_prune.checkpoint import writer
        wanda = dict(statistics="sequential", calibration=Calibration({str(calibration_file)!r}, 7, 29))
        recipe = Recipe("wanda", 0.5, **wanda) if {kind!r} == "sequential" else Recipe("magnitude", 0.5)
        written = [0]
        original = writer.CheckpointWriter.write_part
        def write(self, place, values):
            # In the middle of a block, after some of its matrices.
            written[0] += 1
            if written[0] == 7 * 3 + 4:
                os.kill(os.getpid(), signal.SIGKILL)
            original(self, place, values)
        writer.CheckpointWriter.write_part = write
        prune_checkpoint({str(source)!r}, {str(tmp_path / "out")!r}, recipe)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    told = []
    recipe = make_recipe(kind, calibration)
    prune_checkpoint(source, tmp_path / "out", recipe, progress=told.append)
    assert [p.done for p in told] == [3, 4, 5, 6]
    prune_checkpoint(source, tmp_path / "whole", recipe)
    assert weight_files(tmp_path / "out") == weight_files(tmp_path / "whole")


def test_a_finished_prune_is_not_done_again(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama")
    recipe = make_recipe("sequential", calibration)
    first = prune_checkpoint(source, tmp_path / "out", recipe)
    stamp = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    told = []
    assert prune_checkpoint(source, tmp_path / "out", recipe, progress=told.append) == first
    assert told == []
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == stamp
    prune_checkpoint(source, tmp_path / "out", recipe, progress=told.append, force=True)
    assert len(told) == 4


def test_a_folder_that_holds_something_else_is_kept(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama")
    prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    before = weight_files(tmp_path / "out")
    for recipe in (Recipe("magnitude", 0.3), make_recipe("dense", calibration)):
        with pytest.raises(CheckpointError, match="holds something else"):
            prune_checkpoint(source, tmp_path / "out", recipe)
    other = save_tiny_model(tmp_path / "other", "llama", seed=1)
    with pytest.raises(CheckpointError, match="holds something else"):
        prune_checkpoint(other, tmp_path / "out", Recipe("magnitude", 0.5))
    assert weight_files(tmp_path / "out") == before
    prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.3), force=True)
    assert weight_files(tmp_path / "out") != before


def test_another_recipe_does_not_carry_on_from_this_ones_state(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    with pytest.raises(Stop):
        prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.3), progress=stop_after(2))
    report = prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    assert report.actual_sparsity == pytest.approx(0.5, abs=1e-3)


def test_two_processes_on_one_folder_get_one_sentence(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")

    def second(_):
        with pytest.raises(CheckpointError, match="Another process is writing"):
            prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))

    prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5), progress=second)


def test_a_compute_type_that_would_be_ignored_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    with pytest.raises(RecipeError, match="dtype float32 would be ignored"):
        prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5), dtype="float32")


def test_pruning_onto_the_source_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    before = weight_files(source)
    for force in (False, True):
        with pytest.raises(CheckpointError):
            prune_checkpoint(source, source, Recipe("magnitude", 0.5), force=force)
    assert weight_files(source) == before


def test_blocks_let_go_of_their_weights(tmp_path, calibration, monkeypatch):
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4)
    networks = []
    original = Checkpoint.network
    monkeypatch.setattr(
        Checkpoint,
        "network",
        lambda *args, **kwargs: (lambda found: networks.append(found) or found)(original(*args, **kwargs)),
    )
    prune_checkpoint(source, tmp_path / "out", make_recipe("sequential", calibration))
    for block in blocks(networks[0]):
        assert sum(values.size for _, values in tree_flatten(block.parameters())) == 0


def test_weights_that_are_not_finite_stop_with_their_name(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    weights = dict(mx.load(str(source / "model.safetensors")))
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name] = mx.where(mx.arange(42) == 5, mx.array(float("nan")), weights[name])
    mx.eval(weights)
    mx.save_safetensors(str(source / "model.safetensors"), weights)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj holds NaN"):
        prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_midway_keeps_what_was_done(tmp_path, monkeypatch):
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4)
    full = [False]
    original = writer.CheckpointWriter.write_part

    def write(self, place, values):
        if full[0] and ".layers.2." in place.tensor:
            raise OSError(28, "No space left on device", place.tensor)
        original(self, place, values)

    monkeypatch.setattr(writer.CheckpointWriter, "write_part", write)
    full[0] = True
    with pytest.raises(CheckpointError, match="disk is full"):
        prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    assert not (tmp_path / "out").exists()
    full[0] = False
    told = []
    prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5), progress=told.append)
    assert [p.done for p in told] == [2, 3, 4]


def test_the_record_tells_what_was_done(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "mistral")
    report = prune_checkpoint(source, tmp_path / "out", make_recipe("sequential", calibration, 0.3))
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta["calibration"]["samples"] == 7
    assert meta["calibration"]["sequence_length"] == 29
    assert len(meta["calibration"]["sha256"]) == 64
    assert meta["statistics"] == "sequential"
    assert meta["projections"]["mlp.down_proj"]["zeros"] == 3 * 40 * 18
    assert set(meta["blocks"]) == {"0", "1", "2"}
    assert meta["prune_time_s"] == report.prune_time_s > meta["calibration_time_s"] >= 0
    assert meta["peak_memory_bytes"] > 0
    assert meta["versions"]["mlx"]
    assert meta["device"]["backend"]
