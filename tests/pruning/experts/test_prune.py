"""Folders: bytes of what stays, quantized or not, sizes foretold, what is recorded, resumption, processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from masked_experts import experts_hidden
from stock_logits import TOKENS, assert_close
from tiny_experts import save_tiny_experts
from tiny_models import save_tiny_model, weight_files

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.labels import parse_label
from mlx_prune.pruning.experts.mixtures import mixtures_of
from mlx_prune.pruning.experts.plan import Plan
from mlx_prune.pruning.experts.prune import prune_experts
from mlx_prune.pruning.experts.recipe import SCORES, ExpertsRecipe
from mlx_prune.pruning.job import write_copy
from mlx_prune.pruning.quantizing import quantize_checkpoint

RANDOM = ExpertsRecipe("experts", 0.4, score="random")
# Sizes that groups of 32 weights divide.
EVEN = {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "head_dim": 16}


def stored(folder: Path) -> dict[str, bytes]:
    """The bytes of every tensor, by its name in the files."""
    found = {}
    for info in open_shards(folder).tensors.values():
        with open(info.file, "rb") as opened:
            opened.seek(info.offset)
            found[info.name] = opened.read(info.nbytes)
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_kept_tensor_keeps_its_bytes_under_its_new_number(tmp_path, dtype):
    source = save_tiny_experts(tmp_path / "m", "qwen3_moe", dtype=dtype, shards=3)
    report = prune_experts(source, tmp_path / "out", RANDOM)
    before, after = stored(source), stored(tmp_path / "out")
    experts = report.removed["experts"]
    for block, gone in zip(experts["blocks"], experts["removed"], strict=True):
        stay = [expert for expert in range(experts["before"]) if expert not in gone]
        router = before.pop(f"model.layers.{block}.mlp.gate.weight")
        row = len(router) // experts["before"]
        rows = b"".join(router[expert * row : (expert + 1) * row] for expert in stay)
        assert after.pop(f"model.layers.{block}.mlp.gate.weight") == rows
        for projection in ("gate_proj", "up_proj", "down_proj"):
            own = f"model.layers.{block}.mlp.experts"
            every = [before.pop(f"{own}.{e}.{projection}.weight") for e in range(experts["before"])]
            kept = [after.pop(f"{own}.{e}.{projection}.weight") for e in range(len(stay))]
            assert kept == [every[expert] for expert in stay]
    assert after == before


@pytest.mark.parametrize("mode", ["q4-g32", "mxfp4"])
@pytest.mark.parametrize("architecture", ["qwen3_moe", "deepseek_v3"])
def test_a_quantized_source_is_cut_and_not_dequantized(tmp_path, architecture, mode, calibration):
    more = {"n_routed_experts": 12, "kv_lora_rank": 32, "q_lora_rank": 32, "v_head_dim": 32}
    more |= {"qk_nope_head_dim": 32}
    even = EVEN | (more if architecture == "deepseek_v3" else {})
    dense = save_tiny_experts(tmp_path / "m", architecture, **even)
    quantization = parse_label(mode).quantization
    quantize_checkpoint(dense, tmp_path / "q", quantization)
    recipe = ExpertsRecipe("experts", 0.4, calibration=calibration)
    report = prune_experts(tmp_path / "q", tmp_path / "out", recipe)
    experts = report.removed["experts"]
    before, after = stored(tmp_path / "q"), stored(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = {name for name, values in after.items() if values != before[name]}
    assert all(".mlp." in name for name in changed)
    for block, gone in zip(experts["blocks"], experts["removed"], strict=True):
        for last in ("weight", "scales"):
            name = f"model.layers.{block}.mlp.switch_mlp.down_proj.{last}"
            each = len(before[name]) // experts["before"]
            pieces = [before[name][e * each : (e + 1) * each] for e in range(experts["before"])]
            assert after[name] == b"".join(p for e, p in enumerate(pieces) if e not in gone)
    # Stock mlx-lm computes what the whole quantized model does, whose router cannot see what is gone.
    stock, _ = mlx_lm.load(str(tmp_path / "out"))
    network = Checkpoint.open(tmp_path / "q").network("float32")
    stock.set_dtype(mx.float32)
    mixtures = mixtures_of(
        network, Checkpoint.open(tmp_path / "q").config, experts["before"], experts["after"]
    )
    removed = dict(zip(experts["blocks"], experts["removed"], strict=True))
    with experts_hidden(network, mixtures, removed):
        assert_close(np.array(stock(mx.array(TOKENS))), np.array(network(mx.array(TOKENS))))
    found = inspect(tmp_path / "out")
    assert found.disagreements == ()
    everything = set(range(experts["before"]))
    assert found.kept_experts == {block: sorted(everything - set(gone)) for block, gone in removed.items()}
    assert found.experts == dict.fromkeys(removed, experts["after"])


def test_a_quantized_source_is_not_quantized_again_and_nothing_is_pruned_before(tmp_path):
    dense = save_tiny_experts(tmp_path / "m", "qwen3_moe", **EVEN)
    quantize_checkpoint(dense, tmp_path / "q", parse_label("q4-g32").quantization)
    told = []
    with pytest.raises(CheckpointError, match="quantized already"):
        write_copy(
            tmp_path / "q", tmp_path / "out", RANDOM, parse_label("q4-g32").quantization, progress=told.append
        )
    assert told == []
    report = write_copy(dense, tmp_path / "both", RANDOM, parse_label("q4-g32").quantization)
    assert report.to_json()["method"] == "experts+random+q4-g32"
    assert inspect(tmp_path / "both").disagreements == ()


@pytest.mark.parametrize("score", SCORES)
def test_sizes_are_foretold_and_recorded_and_a_finished_folder_is_left_alone(tmp_path, score, calibration):
    source = save_tiny_experts(tmp_path / "m", "olmoe", shards=2)
    text = {} if score in ("random", "weight-norm") else {"calibration": calibration}
    recipe = ExpertsRecipe("experts", 0.4, score=score, **text)
    foretold = Plan.of(Checkpoint.open(source).on_disk("float32"), recipe).bytes_after()
    report = prune_experts(source, tmp_path / "out", recipe)
    files = weight_files(tmp_path / "out")
    written = sum(len(data) for name, data in files.items() if name.endswith(".safetensors"))
    assert report.bytes.after == written == pytest.approx(foretold, rel=0.001)
    index = json.loads(files["model.safetensors.index.json"])
    infos = open_shards(tmp_path / "out").tensors
    assert index["weight_map"] == {name: info.file.name for name, info in infos.items()}
    assert index["metadata"]["total_size"] == sum(info.nbytes for info in infos.values())
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta == json.loads(json.dumps(report.to_json()))
    assert meta["method"] == ("experts" if score == "reap" else f"experts+{score}")
    assert meta["score"] == score
    assert (meta["removed"]["experts"]["before"], meta["removed"]["experts"]["after"]) == (5, 3)
    assert meta["remaining_prunable_params"] == sum(m.size for m in Checkpoint(tmp_path / "out").matrices())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == json.loads((source / "config.json").read_text()) | {"num_experts": 3}
    stamp = (tmp_path / "out" / "pruning_meta.json").stat().st_mtime_ns
    again = prune_experts(source, tmp_path / "out", recipe)
    assert again.removed == json.loads(json.dumps(report.removed))
    assert (tmp_path / "out" / "pruning_meta.json").stat().st_mtime_ns == stamp
    with pytest.raises(CheckpointError, match="holds something else"):
        prune_experts(source, tmp_path / "out", ExpertsRecipe("experts", 0.2, score=score, **text))


class Stop(Exception):
    pass


@pytest.mark.parametrize("stage", ["calibrate", "write"])
def test_an_interrupted_prune_carries_on_to_the_same_bytes(tmp_path, stage, calibration):
    source = save_tiny_experts(tmp_path / "m", "mixtral", shards=2)
    recipe = ExpertsRecipe("experts", 0.4, calibration=calibration)
    prune_experts(source, tmp_path / "whole", recipe)

    def stop(told):
        if told.stage == stage and told.done == (2 if stage == "calibrate" else 1):
            raise Stop

    with pytest.raises(Stop):
        prune_experts(source, tmp_path / "out", recipe, progress=stop)
    assert not (tmp_path / "out").exists()
    told = []
    prune_experts(source, tmp_path / "out", recipe, progress=told.append)
    measured = [report.done for report in told if report.stage == "calibrate"]
    assert measured == ([3] if stage == "calibrate" else [])
    assert weight_files(tmp_path / "out") == weight_files(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"m", "out", "whole"}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in (tmp_path / "whole").iterdir()}


KILLED = """
import os, signal, sys
from mlx_prune.activations.calibration import Calibration
from mlx_prune.pruning.experts.prune import prune_experts
from mlx_prune.pruning.experts.recipe import ExpertsRecipe

def kill(told):
    if told.done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

source, out, text = sys.argv[1:]
prune_experts(source, out, ExpertsRecipe("experts", 0.4, calibration=Calibration(text, 7, 29)), progress=kill)
"""


def test_a_kill_loses_one_block_at_most(tmp_path, calibration_file):
    source = save_tiny_experts(tmp_path / "m", "mixtral", num_hidden_layers=4)
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "out"), str(calibration_file)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    told = []
    recipe = ExpertsRecipe("experts", 0.4, calibration=Calibration(calibration_file, 7, 29))
    prune_experts(source, tmp_path / "out", recipe, progress=told.append)
    assert [report.done for report in told if report.stage == "calibrate"] == [3, 4]
    prune_experts(source, tmp_path / "whole", recipe)
    assert weight_files(tmp_path / "out") == weight_files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "share", "message"),
    [
        ({}, 0.8, r"a block has 1, and each token is routed to 2; remove fewer"),
        ({}, 0.05, "5 % of 5 experts is none to remove"),
        ({"num_local_experts": 8, "num_experts_per_tok": 8}, 0.1, "each token is routed to 8"),
    ],
)
def test_what_a_router_cannot_do_without_is_refused(tmp_path, changes, share, message):
    source = save_tiny_experts(tmp_path / "m", "mixtral", **changes)
    with pytest.raises(RecipeError, match=message):
        prune_experts(source, tmp_path / "out", ExpertsRecipe("experts", share, score="random"))
    assert not (tmp_path / "out").exists()


def test_groups_lose_the_same_number(tmp_path):
    source = save_tiny_experts(tmp_path / "m", "deepseek_v3", n_routed_experts=12, n_group=3, topk_group=2)
    report = prune_experts(source, tmp_path / "out", ExpertsRecipe("experts", 0.3, score="random"))
    experts = report.removed["experts"]
    assert experts["after"] == 9
    assert all([expert // 4 for expert in gone] == [0, 1, 2] for gone in experts["removed"])
    for share, message in ((0.1, "in 3 groups is none"), (0.75, "chosen by its best 2")):
        with pytest.raises(RecipeError, match=message):
            prune_experts(source, tmp_path / "no", ExpertsRecipe("experts", share, score="random"))


def test_a_model_without_experts_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    with pytest.raises(RecipeError, match="no mixture of experts"):
        prune_experts(source, tmp_path / "out", RANDOM)


def test_a_truncated_source_is_one_sentence(tmp_path):
    source = save_tiny_experts(tmp_path / "m", "mixtral")
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        prune_experts(source, tmp_path / "out", RANDOM)
