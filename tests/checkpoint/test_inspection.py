"""Zeros counted in any checkpoint, and compared with what was recorded."""

from __future__ import annotations

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.utils import save_config
from mlx_lm.utils import save_model as mlx_lm_save_model
from tiny_experts import EXPERTS, save_tiny_experts
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.config import read_config
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.open import load
from mlx_prune.cli.main import run
from mlx_prune.errors import CheckpointError
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe


def test_a_dense_model_has_no_zeros_and_nothing_left_dense(tmp_path):
    found = inspect(save_tiny_model(tmp_path / "m", "phi3", shards=2, dtype="bfloat16"))
    assert found.actual_sparsity < 1e-3
    assert found.left_dense == ()
    assert found.record is None
    assert found.disagreements == ()
    assert list(found.projections) == [
        "self_attn.qkv_proj",
        "self_attn.o_proj",
        "mlp.gate_up_proj",
        "mlp.down_proj",
    ]


def test_it_agrees_with_the_record_of_a_prune(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", shards=2)
    recipe = Recipe("wanda", 0.5, scope="paper", calibration=calibration)
    report = prune_checkpoint(source, tmp_path / "out", recipe)
    found = inspect(tmp_path / "out")
    assert found.matrices == report.matrices
    assert found.disagreements == ()
    assert found.left_dense == ("self_attn.o_proj", "mlp.down_proj")
    assert json.loads(json.dumps(found.to_json()))["zero_params"] == report.zero_params


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_no_numbers_are_refused_and_named(tmp_path, value):
    folder = save_tiny_model(tmp_path / "m", "llama")
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = value
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    with pytest.raises(
        CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj holds NaN or infinite weights"
    ):
        inspect(folder)


def test_it_says_where_weights_and_record_differ(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    report = prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    weights = dict(mx.load(str(source / "model.safetensors")))
    pruned = dict(mx.load(str(tmp_path / "out" / "model.safetensors")))
    name = "model.layers.1.mlp.up_proj.weight"
    mx.eval(pruned)
    mx.save_safetensors(str(tmp_path / "out" / "model.safetensors"), {**pruned, name: weights[name]})
    found = inspect(tmp_path / "out")
    zeros = 53 * 42 // 2
    total = report.zero_params
    assert found.disagreements[0] == (
        f"pruning_meta.json records {total:,} zeros, the weights hold {total - zeros:,}."
    )
    assert any(sentence.startswith("mlp.up_proj: ") for sentence in found.disagreements)


def test_a_damaged_record_is_one_sentence_and_can_be_replaced(tmp_path):
    source, out = save_tiny_model(tmp_path / "m", "llama"), tmp_path / "out"
    prune_checkpoint(source, out, Recipe("magnitude", 0.5))
    file = out / "pruning_meta.json"
    good = json.loads(file.read_text())
    damaged = [
        "{",
        *(json.dumps({**good, name: "x"}) for name in ("target_sparsity", "actual_sparsity", "zero_params")),
        *(json.dumps({**good, "projections": wrong}) for wrong in (3, {"mlp.up_proj": 3})),
        json.dumps({**good, "zero_params": True}),
    ]
    for text in damaged:
        file.write_text(text)
        with pytest.raises(CheckpointError, match="prune again with --force"):
            inspect(out)
    assert prune_checkpoint(source, out, Recipe("magnitude", 0.5), force=True).actual_sparsity > 0.49
    assert inspect(out).disagreements == ()


def test_what_a_record_leaves_out_is_not_compared(tmp_path, capsys):
    out = tmp_path / "out"
    prune_checkpoint(save_tiny_model(tmp_path / "m", "llama"), out, Recipe("magnitude", 0.5))
    (out / "pruning_meta.json").write_text(json.dumps({"method": "magnitude"}))
    assert inspect(out).disagreements == ()
    assert run(["inspect", str(out)]) == 0
    assert "Recorded: magnitude - on None, actual -." in capsys.readouterr().out


def test_quantized_models_are_counted_as_they_dequantize(tmp_path):
    source = save_tiny_model(
        tmp_path / "m", "llama", hidden_size=64, intermediate_size=128, head_dim=32, num_attention_heads=2
    )
    prune_checkpoint(source, tmp_path / "half", Recipe("magnitude", 0.5))
    model = load(tmp_path / "half").model
    nn.quantize(model, group_size=32, bits=4, mode="mxfp4")
    (tmp_path / "q").mkdir()
    mlx_lm_save_model(tmp_path / "q", model)
    config = {**read_config(source), "quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}
    save_config(config, tmp_path / "q" / "config.json")
    found = inspect(tmp_path / "q")
    assert found.actual_sparsity >= 0.5
    expected = sum(
        int((np.array(mx.dequantize(m.weight, m.scales, None, 32, 4, "mxfp4").astype(mx.float32)) == 0).sum())
        for _, m in model.named_modules()
        if isinstance(m, nn.QuantizedLinear) and m is not getattr(model, "lm_head", None)
    )
    assert sum(m.zeros for m in found.matrices) == expected
    with pytest.raises(CheckpointError, match="is quantized; prune the dense checkpoint first"):
        prune_checkpoint(tmp_path / "q", tmp_path / "out", Recipe("magnitude", 0.5))


def test_experts_are_counted_one_by_one_and_routers_apart(tmp_path):
    source = save_tiny_experts(tmp_path / "m", "qwen3_moe")
    report = prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    found = inspect(tmp_path / "out")
    assert {m.name: m for m in found.matrices} == {m.name: m for m in report.matrices}
    assert sum("switch_mlp" in m.name for m in found.matrices) == 2 * 3 * EXPERTS
    assert {m.projection for m in found.others} == {"mlp.gate"}
    assert found.actual_sparsity == report.actual_sparsity
    assert found.left_dense == ()
    assert found.disagreements == ()
    assert found.to_json()["not_counted"] == {"mlp.gate": {"params": 2 * EXPERTS * 40, "zeros": 0}}
