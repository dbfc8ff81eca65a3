"""Quantized checkpoints: what mlx-lm itself converts to, with an honest count of the zeros that survive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tiny_experts import save_tiny_experts
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.quantizing import quantize_checkpoint
from mlx_prune.pruning.recipe import Recipe

# Sizes that groups of 32 and 64 divide, but for the inputs of down_proj (96).
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "mistral": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "gemma2": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "phi3": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4},
    "qwen3": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
}
TOKENS = mx.array([[5, 9, 200, 17, 3, 88]])


def source(folder: Path, architecture: str = "llama", **entries: Any) -> Path:
    sizes = {**SIZES[architecture], "intermediate_size": 96, "num_hidden_layers": 2}
    return save_tiny_model(folder, architecture, **{**sizes, **entries})


def assert_same_tensors(one: Path, other: Path) -> None:
    """Both folders hold tensors of the same names and types with the same bits, in however many files."""
    left, right = (
        {name: tensor for file in folder.glob("*.safetensors") for name, tensor in mx.load(str(file)).items()}
        for folder in (one, other)
    )
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert (tensor.dtype, tensor.shape) == (right[name].dtype, right[name].shape), name
        assert bytes(memoryview(tensor.view(mx.uint8))) == bytes(memoryview(right[name].view(mx.uint8))), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_checkpoint_is_what_mlx_lm_converts_to(architecture: str, tmp_path: Path) -> None:
    dense = source(tmp_path / "dense", architecture)
    report = quantize_checkpoint(dense, tmp_path / "ours", Quantization(bits=4, group_size=32))
    theirs = tmp_path / "theirs"
    mlx_lm.convert(str(dense), str(theirs), quantize=True, q_bits=4, q_group_size=32)
    assert_same_tensors(tmp_path / "ours", theirs)
    assert json.loads((tmp_path / "ours" / "config.json").read_text()) == json.loads(
        (theirs / "config.json").read_text()
    )
    assert report.left == ()
    assert report.label == "q4-g32"


def test_parameters_and_bits_are_of_the_model_before_it_was_quantized(tmp_path: Path) -> None:
    dense, out = source(tmp_path / "dense"), tmp_path / "out"
    report = quantize_checkpoint(dense, out, Quantization(bits=4, group_size=32))
    network, _ = mlx_lm.utils.load_model(dense)
    parameters = sum(values.size for _, values in tree_flatten(network.parameters()))
    meta = json.loads((out / "pruning_meta.json").read_text())
    assert meta["parameters"] == {"before": parameters, "after": parameters}
    written = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    assert report.bits_per_weight == pytest.approx(8 * written / parameters, rel=1e-3)


@pytest.mark.parametrize(
    ("quantization", "options"),
    [
        *((Quantization(bits=bits), {"q_bits": bits, "q_group_size": 64}) for bits in (2, 3, 6, 8)),
        *((Quantization(mode), {"q_mode": mode}) for mode in ("mxfp4", "nvfp4", "mxfp8")),
    ],
    ids=lambda value: value.label if isinstance(value, Quantization) else "",
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_mode_equals_mlx_lms(
    quantization: Quantization, options: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    dense = source(tmp_path / "dense", dtype=dtype)
    quantize_checkpoint(dense, tmp_path / "ours", quantization)
    mlx_lm.convert(str(dense), str(tmp_path / "theirs"), quantize=True, **options)
    assert_same_tensors(tmp_path / "ours", tmp_path / "theirs")
    ours, _ = mlx_lm.load(str(tmp_path / "ours"))
    assert np.isfinite(np.array(ours(TOKENS).astype(mx.float32))).all()


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_experts_are_quantized_as_mlx_lm_does_and_counted_as_inspect_does(kind: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    more = {"moe_intermediate_size": 32, "head_dim": 16} if kind == "qwen3_moe" else {}
    dense = save_tiny_experts(tmp_path / "dense", kind, num_hidden_layers=2, **sizes, **more)
    prune_checkpoint(dense, tmp_path / "pruned", Recipe("magnitude", 0.5))
    report = quantize_checkpoint(tmp_path / "pruned", tmp_path / "ours", Quantization("mxfp4"))
    theirs = tmp_path / "theirs"
    mlx_lm.convert(str(tmp_path / "pruned"), str(theirs), quantize=True, q_mode="mxfp4")
    assert_same_tensors(tmp_path / "ours", theirs)
    assert report.zeros_kept == report.zeros_before
    assert report.zeros_before == inspect(tmp_path / "pruned").record.zero_params  # type: ignore[union-attr]
    assert inspect(tmp_path / "ours").disagreements == ()


def test_a_sharded_source_gives_the_same_checkpoint(tmp_path: Path) -> None:
    one, three = source(tmp_path / "one"), source(tmp_path / "three", shards=3)
    for folder in (one, three):
        quantize_checkpoint(folder, tmp_path / f"{folder.name}-q", Quantization(bits=4, group_size=32))
    assert_same_tensors(tmp_path / "one-q", tmp_path / "three-q")
    assert len(list((tmp_path / "three-q").glob("*.safetensors"))) == 1


def test_layers_that_no_group_divides_are_named_and_stay_as_they_are(tmp_path: Path) -> None:
    dense = source(tmp_path / "dense")
    report = quantize_checkpoint(dense, tmp_path / "out", Quantization(bits=4))
    assert report.left == tuple(f"model.layers.{block}.mlp.down_proj" for block in range(2))
    assert any("2 layers are not quantized" in warning for warning in report.warnings)
    before, after = mlx_lm.load(str(dense))[0], mlx_lm.load(str(tmp_path / "out"))[0]
    for old, new in zip(before.layers, after.layers, strict=True):
        assert mx.array_equal(old.mlp.down_proj.weight, new.mlp.down_proj.weight).item()
    # 2 x (4 attention + gate and up) + embedding and head.
    assert report.to_json()["quantization"]["layers"] == 14


def test_zeros_are_counted_as_the_stored_integers_say(tmp_path: Path) -> None:
    dense = source(tmp_path / "dense")
    prune_checkpoint(dense, tmp_path / "pruned", Recipe("magnitude", 0.5))
    report = quantize_checkpoint(tmp_path / "pruned", tmp_path / "out", Quantization(bits=4, group_size=32))
    before = mx.load(str(tmp_path / "pruned" / "model.safetensors"))
    after = mx.load(str(tmp_path / "out" / "model.safetensors"))
    was = kept = now = 0
    for name, weight in before.items():
        if ".layers." not in name or "_proj" not in name:
            continue
        stem = name.removesuffix(".weight")
        words = np.array(after[name])
        # Eight 4-bit integers to a word, the lowest first; value = scale * integer + bias.
        integers = (words[:, :, None] >> (4 * np.arange(8, dtype=np.uint32)) & 15).reshape(weight.shape)
        scale, bias = (np.array(after[f"{stem}.{part}"])[:, :, None] for part in ("scales", "biases"))
        groups = integers.reshape(weight.shape[0], -1, 32).astype(np.float32)
        zero_now = (scale * groups + bias).reshape(weight.shape) == 0
        zero_before = np.array(weight) == 0
        was += zero_before.sum()
        now += zero_now.sum()
        kept += (zero_before & zero_now).sum()
    assert (report.zeros_before, report.zeros_kept, report.zeros_after) == (was, kept, now)
    assert was == report.to_json()["total_prunable_params"] / 2


@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4", "mxfp8"])
def test_modes_without_offset_keep_every_zero(mode: str, tmp_path: Path) -> None:
    dense = source(tmp_path / "dense")
    prune_checkpoint(dense, tmp_path / "pruned", Recipe("random", 0.5, seed=3))
    report = quantize_checkpoint(tmp_path / "pruned", tmp_path / "out", Quantization(mode))
    assert report.zeros_kept == report.zeros_before > 0


def test_a_pruned_checkpoints_record_is_carried_on(tmp_path: Path) -> None:
    dense = source(tmp_path / "dense")
    pruned = prune_checkpoint(dense, tmp_path / "pruned", Recipe("magnitude", pattern="2:4"))
    report = quantize_checkpoint(tmp_path / "pruned", tmp_path / "out", Quantization(bits=8))
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta == report.to_json()
    assert (meta["method"], meta["pattern"], meta["target_sparsity"]) == ("magnitude+q8", "2:4", 50.0)
    assert meta["model"] == str(dense)
    assert meta["total_prunable_params"] == pruned.total_prunable_params
    assert meta["bytes"]["after"] < 0.5 * meta["bytes"]["before"]
    assert inspect(tmp_path / "out").disagreements == ()
    assert mlx_lm.load(str(tmp_path / "out"))[1].chat_template
    assert (tmp_path / "out" / "LICENSE").is_file()
    alone = quantize_checkpoint(dense, tmp_path / "alone", Quantization(bits=8))
    assert (alone.label, alone.to_json()["target_sparsity"]) == ("q8", 0.0)


def test_a_finished_folder_is_left_alone_and_another_one_refused(tmp_path: Path) -> None:
    dense = source(tmp_path / "dense")
    out = tmp_path / "out"
    first = quantize_checkpoint(dense, out, Quantization(bits=4))
    times = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    assert quantize_checkpoint(dense, out, Quantization(bits=4)) == first
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == times
    with pytest.raises(CheckpointError, match="holds something else"):
        quantize_checkpoint(dense, out, Quantization(bits=8))
    assert quantize_checkpoint(dense, out, Quantization(bits=8), force=True).label == "q8"
    with pytest.raises(CheckpointError, match="quantized already"):
        quantize_checkpoint(out, tmp_path / "twice", Quantization(bits=4))
    assert not (tmp_path / "twice").exists()


def test_a_model_that_no_group_fits_is_refused(tmp_path: Path) -> None:
    odd = save_tiny_model(tmp_path / "odd", "llama")
    with pytest.raises(RecipeError, match="multiple of 64"):
        quantize_checkpoint(odd, tmp_path / "out", Quantization(bits=4))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "where",
    ["quantization", "quantization_config", "text_config", "hf_quant_config.json", "as it is written here"],
)
def test_a_quantized_model_is_known_wherever_it_says_so(where: str, tmp_path: Path) -> None:
    source = save_tiny_model(tmp_path / "m", "llama", hidden_size=64, intermediate_size=64, head_dim=32)
    if where == "as it is written here":
        settings = Quantization(bits=4, group_size=32)
        source = tmp_path / "q"
        quantize_checkpoint(tmp_path / "m", source, settings)
        (source / "pruning_meta.json").unlink()
    said = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    config = json.loads((source / "config.json").read_text())
    if where == "text_config":
        config["text_config"] = {"quantization_config": said}
    elif where == "hf_quant_config.json":
        (source / where).write_text(json.dumps({"quantization": said}))
    elif where != "as it is written here":
        config[where] = said
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="quantized already"):
        quantize_checkpoint(source, tmp_path / "out", Quantization(bits=4, group_size=32))
    assert not (tmp_path / "out").exists()


def test_stock_mlx_lm_finds_the_rotary_positions_of_a_quantized_model(tmp_path: Path) -> None:
    rope = {"rope_type": "linear", "rope_theta": 3e5, "factor": 2.0}
    dense = save_tiny_model(tmp_path / "m", "llama", hidden_size=64, head_dim=32, rope_parameters=rope)
    config = json.loads((dense / "config.json").read_text())
    del config["rope_theta"]
    (dense / "config.json").write_text(json.dumps(config))
    quantize_checkpoint(dense, tmp_path / "out", Quantization(bits=8, group_size=32))
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["rope_theta"], written["rope_scaling"]["factor"]) == (3e5, 2.0)
    assert written["rope_parameters"] == rope
