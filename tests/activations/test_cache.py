"""Statistics are measured once per model and text, and found by content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_models import save_tiny_model

from mlx_prune.activations import passes as calibration
from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint import hashes
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A cache of one's own, and the blocks measured so far."""
    monkeypatch.setenv("MLX_PRUNE_CACHE", str(tmp_path / "cache"))
    blocks = []
    original = calibration.BlockSteps.watch
    monkeypatch.setattr(
        calibration.BlockSteps,
        "watch",
        lambda self, index, **kwargs: blocks.append(index) or original(self, index, **kwargs),
    )
    return blocks


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def wanda(calibration, sparsity=0.5, statistics="dense", **more):
    return Recipe("wanda", sparsity, statistics=statistics, calibration=calibration, **more)


def test_dense_statistics_serve_every_sparsity_and_pattern(tmp_path, calibration, measured):
    source = save_tiny_model(tmp_path / "m", "llama")
    prune_checkpoint(source, tmp_path / "a", wanda(calibration))
    assert measured == [0, 1, 2]
    report = prune_checkpoint(source, tmp_path / "b", wanda(calibration, 0.3))
    prune_checkpoint(source, tmp_path / "c", wanda(calibration, None, pattern="2:4"))
    prune_checkpoint(source, tmp_path / "d", wanda(calibration, scope="paper"))
    assert measured == [0, 1, 2]
    prune_checkpoint(source, tmp_path / "again", wanda(calibration, 0.3), cache=False)
    assert measured == [0, 1, 2] * 2
    assert weights(tmp_path / "again") == weights(tmp_path / "b")
    assert report.calibration["samples"] == 7


def test_sequential_runs_share_the_first_block(tmp_path, calibration, measured):
    source = save_tiny_model(tmp_path / "m", "gemma2")
    prune_checkpoint(source, tmp_path / "a", wanda(calibration, 0.5, "sequential"))
    assert measured == [0, 1, 2]
    prune_checkpoint(source, tmp_path / "b", wanda(calibration, 0.3, "sequential"))
    assert measured == [0, 1, 2, 1, 2]
    prune_checkpoint(source, tmp_path / "again", wanda(calibration, 0.3, "sequential"), cache=False)
    assert weights(tmp_path / "again") == weights(tmp_path / "b")


def test_sequential_runs_take_the_first_block_from_dense_statistics(tmp_path, calibration, measured):
    source = save_tiny_model(tmp_path / "m", "llama")
    prune_checkpoint(source, tmp_path / "a", wanda(calibration, 0.5))
    prune_checkpoint(source, tmp_path / "b", wanda(calibration, 0.5, "sequential"))
    assert measured == [0, 1, 2, 1, 2]


def test_a_copy_of_the_model_is_recognized_and_a_change_is_not_overlooked(tmp_path, calibration, measured):
    source = save_tiny_model(tmp_path / "m", "llama")
    prune_checkpoint(source, tmp_path / "a", wanda(calibration))
    shutil.copytree(source, tmp_path / "copy")
    prune_checkpoint(tmp_path / "copy", tmp_path / "b", wanda(calibration))
    assert len(measured) == 3
    file = tmp_path / "copy" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    prune_checkpoint(tmp_path / "copy", tmp_path / "c", wanda(calibration))
    assert len(measured) == 6


def test_other_texts_sizes_and_seeds_are_measured_anew(tmp_path, calibration, calibration_file, measured):
    source = save_tiny_model(tmp_path / "m", "llama")
    variants = [
        (calibration, {}),
        (calibration, {"seed": 1}),
        (Calibration(calibration_file, 6, 29), {}),
        (Calibration(calibration_file, 7, 28), {}),
    ]
    for number, (text, more) in enumerate(variants):
        prune_checkpoint(source, tmp_path / str(number), wanda(text, **more))
        assert len(measured) == 3 * (number + 1)


def test_files_of_the_hubs_cache_are_known_by_name(tmp_path, monkeypatch):
    from mlx_prune.checkpoint.shards import open_shards

    source = save_tiny_model(tmp_path / "m", "llama")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    blob = blobs / ("ab" * 32)
    (source / "model.safetensors").rename(blob)
    (source / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr(hashes.hashlib, "file_digest", lambda *_: pytest.fail("the file was read"))
    assert hashes.content_hash(open_shards(source), tmp_path / "memory")
