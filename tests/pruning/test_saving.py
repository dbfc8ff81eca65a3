"""Folders that stock mlx-lm and transformers load, with every unpruned byte of the source."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from stock_logits import TOKENS, assert_stock_mlx_lm_agrees
from stored_bits import read_bits
from tiny_models import ARCHITECTURES, save_tiny_model, save_tokenizer, weight_files

from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import CheckpointError
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.saving import save


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_pruned_values_differ_from_the_source(tmp_path, architecture, dtype, calibration):
    source = save_tiny_model(tmp_path / "m", architecture, dtype=dtype, shards=3)
    recipe = Recipe("wanda", 0.5, calibration=calibration)
    prune_checkpoint(source, tmp_path / "streamed", recipe)
    model = load(source)
    save(model, tmp_path / "saved", prune(model, recipe))
    assert weight_files(tmp_path / "saved") == weight_files(tmp_path / "streamed")
    before, after = open_shards(source), open_shards(tmp_path / "streamed")
    assert {f.name for f in before.files} == {f.name for f in after.files}
    prunable = {f"{linear.name}.weight" for linear in prunable_linears(model.model)}
    assert len(prunable & before.tensors.keys()) == len(prunable)
    for name, info in before.tensors.items():
        old, new = read_bits(before, name), read_bits(after, name)
        moved = after.tensors[name]
        assert (info.file.name, info.offset, info.dtype) == (moved.file.name, moved.offset, moved.dtype)
        if name in prunable:
            assert ((new == old) | (new == 0)).all()
            assert (new == 0).any()
        else:
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stock_mlx_lm_loads_it_with_equal_logits(tmp_path, architecture, calibration):
    source = save_tiny_model(tmp_path / "m", architecture, shards=2, dtype="bfloat16")
    model = load(source)
    report = prune(model, Recipe("wanda", pattern="2:4", calibration=calibration))
    save(model, tmp_path / "out", report)
    tokenizer = assert_stock_mlx_lm_agrees(tmp_path / "out", model)
    assert tokenizer.encode("Who was late?") == model.tokenizer.encode("Who was late?")


@pytest.mark.torch
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_transformers_loads_it_with_equal_logits(tmp_path, architecture, calibration):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    source = save_tiny_model(tmp_path / "m", architecture, shards=2)
    model = load(source)
    report = prune(model, Recipe("wanda", 0.5, calibration=calibration))
    save(model, tmp_path / "out", report)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        logits = theirs(torch.tensor(TOKENS)).logits.numpy()
    ours = np.array(model.model(mx.array(TOKENS)))
    np.testing.assert_allclose(logits, ours, atol=2e-4)


def test_everything_beside_the_weights_goes_along(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    report = prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    same = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE")
    for name in (*same, "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *same,
        "generation_config.json",
        "model.safetensors",
        "README.md",
        "pruning_meta.json",
    }
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta["model"] == str(source)
    assert meta["method"] == "magnitude"
    assert meta["target_sparsity"] == 50
    assert meta["actual_sparsity"] == pytest.approx(100 * report.zero_params / meta["total_prunable_params"])
    assert meta["zero_params"] == report.zero_params
    assert meta["layout"] == "source"


def save_gpt2(folder, dtype="float32"):
    """A model whose matrices mlx-lm renames and transposes on loading."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    width, layers, vocabulary = 24, 2, 330
    config = {
        "model_type": "gpt2",
        "n_ctx": 64,
        "n_embd": width,
        "n_head": 3,
        "n_layer": layers,
        "n_positions": 64,
        "layer_norm_epsilon": 1e-5,
        "vocab_size": vocabulary,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"wte.weight": (vocabulary, width), "wpe.weight": (64, width), "ln_f.weight": (width,)}
    shapes["ln_f.bias"] = (width,)
    for i in range(layers):
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"h.{i}.{norm}.weight": (width,), f"h.{i}.{norm}.bias": (width,)}
        for name, rows, columns in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            shapes |= {f"h.{i}.{name}.weight": (rows, columns), f"h.{i}.{name}.bias": (columns,)}
    weights = {
        name: mx.array(rng.normal(0, 0.3, shape).astype(np.float32)).astype(getattr(mx, dtype))
        for name, shape in shapes.items()
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    save_tokenizer(folder)
    return folder


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_renamed_and_reshaped_checkpoint_is_written_in_mlx_lms_layout(tmp_path, dtype, method, calibration):
    source = save_gpt2(tmp_path / "m", dtype)
    recipe = Recipe(method, 0.5, calibration=calibration)
    model = load(source)
    report = prune(model, recipe)
    save(model, tmp_path / "saved", report)
    streamed = prune_checkpoint(source, tmp_path / "streamed", recipe)
    assert streamed.layout == "mlx"
    assert weight_files(tmp_path / "saved") == weight_files(tmp_path / "streamed")
    assert_stock_mlx_lm_agrees(tmp_path / "streamed", model)
    found = inspect(tmp_path / "streamed")
    assert found.disagreements == ()
    assert found.actual_sparsity == report.actual_sparsity


def test_saving_refuses_weights_that_differ_by_more_than_zeros(tmp_path):
    model = load(save_tiny_model(tmp_path / "m", "llama"))
    report = prune(model, Recipe("magnitude", 0.5))
    layer = prunable_linears(model.model)[3]
    layer.module.weight = layer.module.weight * 1.5
    with pytest.raises(CheckpointError, match="by more than zeros"):
        save(model, tmp_path / "out", report)
    assert not (tmp_path / "out").exists()


def test_saving_onto_something_needs_force(tmp_path):
    model = load(save_tiny_model(tmp_path / "m", "llama"))
    report = prune(model, Recipe("magnitude", 0.5))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists already"):
        save(model, tmp_path / "out", report)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    save(model, tmp_path / "out", report, force=True)
    assert not (tmp_path / "out" / "notes.txt").exists()
    with pytest.raises(CheckpointError, match="is the model to prune"):
        save(model, tmp_path / "m", report, force=True)


def test_a_full_disk_is_refused_before_the_start(tmp_path, monkeypatch):
    source = save_tiny_model(tmp_path / "m", "llama")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("mlx_prune.checkpoint.folder.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match="free some space"):
        prune_checkpoint(source, tmp_path / "out", Recipe("magnitude", 0.5))
    assert not (tmp_path / "out").exists()


def test_a_model_with_code_of_its_own_is_saved_where_its_code_was_trusted(tmp_path):
    source = save_tiny_model(tmp_path / "m", "llama")
    turned = {
        name: mx.contiguous(values.T) if name.endswith("k_proj.weight") else values
        for name, values in mx.load(str(source / "model.safetensors")).items()
    }
    mx.save_safetensors(str(source / "model.safetensors"), turned)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_file": "own.py"}))
    (source / "own.py").write_text(
        "from mlx_lm.models import llama\n"
        "ModelArgs = llama.ModelArgs\n"
        "class Model(llama.Model):\n"
        "    def sanitize(self, weights):\n"
        "        turned = {k for k, v in weights.items() if 'k_proj' in k and v.shape[0] > v.shape[1]}\n"
        "        return super().sanitize({k: v.T if k in turned else v for k, v in weights.items()})\n"
    )
    model = load(source, trust_remote_code=True)
    report = prune(model, Recipe("magnitude", 0.5))
    save(model, tmp_path / "out", report)
    assert inspect(tmp_path / "out", trust_remote_code=True).actual_sparsity == report.actual_sparsity
    again = load(tmp_path / "out", trust_remote_code=True)
    for mine, saved in zip(prunable_linears(model.model), prunable_linears(again.model), strict=True):
        assert mx.array_equal(mine.weight, saved.weight)
