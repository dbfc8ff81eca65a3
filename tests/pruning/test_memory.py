"""Peak memory of a streamed prune does not grow with depth."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from block_memory import peaks_by_depth, save_deep_model

from mlx_prune.environment import backend
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize("kind", ["magnitude", "sequential", "dense", "owl", "sparsegpt"])
def test_peak_memory_does_not_grow_with_depth(tmp_path, kind, calibration):
    recipe = Recipe("magnitude", 0.5)
    if kind in ("sequential", "dense"):
        recipe = Recipe("wanda", 0.5, statistics=kind, calibration=calibration)
    elif kind != "magnitude":
        recipe = Recipe("sparsegpt" if kind == "sparsegpt" else "wanda", 0.5, calibration=calibration)
        if kind == "owl":
            recipe = dataclasses.replace(recipe, allocation="owl")
    peaks, block = peaks_by_depth(
        (3, 24),
        lambda depth: save_deep_model(tmp_path / str(depth), depth),
        lambda source, depth: prune_checkpoint(source, tmp_path / f"out-{depth}", recipe, cache=False),
    )
    # SparseGPT also holds a block's Gram matrices (q, k and v share one, gate and up another) and a factor.
    grams = 4 * (3 * 256**2 + 700**2) if kind == "sparsegpt" else 0
    # Where a GPU's kernels do not run, the portable operations count ties in an array of the scores' size.
    ties = 0 if backend() == "cpu" else 4 * 256 * 700
    assert peaks[24] < 3 * block + 2 * grams + ties


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["random", "magnitude", "wanda"])
def test_a_model_of_a_gigabyte_needs_less_than_three_blocks(tmp_path, method, dtype, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import memory
    from generated_model import llama_config, write_model

    width, depth = 1536, 12 if dtype == "float32" else 22
    write_model(tmp_path, llama_config(width, depth), dtype=dtype)
    assert (tmp_path / "model.safetensors").stat().st_size > 1e9
    found = memory.measure(tmp_path, tmp_path / "out", method)
    hidden = 4 * memory.SAMPLES * memory.LENGTH * width if method == "wanda" else 0
    # On a CPU a bfloat16 block is computed with as float32, twice its stored size.
    block = memory.block_bytes(width, "float32" if method == "wanda" else dtype)
    assert found["rss"] - hidden < 3 * block
    assert json.loads((tmp_path / "out" / "pruning_meta.json").read_text())["zero_params"] > 0


@pytest.mark.long
def test_a_killed_prune_of_a_gigabyte_carries_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import memory
    from generated_model import llama_config, write_model

    write_model(tmp_path, llama_config(1536, 12), dtype="float32")
    memory.measure(tmp_path, tmp_path / "whole", "wanda")
    killer = (
        "from mlx_prune.pruning import resumable; import os, signal; done = resumable.ResumablePrune.leave\n"
        "def leave(self, block, zeros):\n"
        "    done(self, block, zeros)\n"
        "    if block == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "resumable.ResumablePrune.leave = leave\n"
    )
    arguments = [str(tmp_path), str(tmp_path / "out"), "wanda", str(memory.SAMPLES), str(memory.LENGTH)]
    killed = subprocess.run([sys.executable, "-c", killer + memory._CHILD, *arguments], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "out").exists()
    memory.measure(tmp_path, tmp_path / "out", "wanda")
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
