"""Models of text and pictures: what mlx-lm leaves out of them is still in every copy."""

from __future__ import annotations

import json

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from stored_bits import read_bits
from tiny_models import random_weights, save_tokenizer, save_weights

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import MlxPruneError
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.quantizing import quantize_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe

TOKENS = mx.arange(5, 29).reshape(1, -1)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 330,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "eos_token_id": 1,
}
FAMILIES = {
    "qwen3_vl": {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 5e5}},
    "qwen3_5": {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "full_attention_interval": 2,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_conv_kernel_dim": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.25},
    },
    "gemma3": {
        "num_hidden_layers": 6,
        "tie_word_embeddings": True,
        "sliding_window": 16,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
    },
}
PICTURES = {
    "qwen3_vl": "model.visual.blocks.0.attn.qkv.weight",
    "qwen3_5": "model.visual.blocks.0.attn.qkv.weight",
    "gemma3": "vision_tower.encoder.layers.0.mlp.fc1.weight",
}


def save_vision(folder, family):
    """A model as transformers writes it, with two tensors for pictures."""
    folder.mkdir()
    text = {"model_type": f"{family}_text", **TEXT, **FAMILIES[family]}
    config = {
        "model_type": family,
        "vocab_size": 330,
        "tie_word_embeddings": text["tie_word_embeddings"],
        "text_config": text,
        "vision_config": {"hidden_size": 16, "num_hidden_layers": 1},
    }
    weights = {}
    for name, values in random_weights(json.loads(json.dumps(config)), 3).items():
        if family != "gemma3":
            name = name.removeprefix("language_model.").replace("model.", "model.language_model.", 1)
        elif name == "language_model.lm_head.weight":
            continue
        weights[name] = values.transpose(0, 2, 1) if "conv1d" in name else values
    rng = np.random.default_rng(9)
    weights[PICTURES[family]] = rng.standard_normal((24, 32)).astype(np.float32)
    weights[PICTURES[family].replace(".weight", ".bias")] = rng.standard_normal(24).astype(np.float32)
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(folder, weights, "bfloat16", shards=2)
    save_tokenizer(folder)
    return folder


def smaller(source, out, method, calibration):
    if method == "magnitude":
        prune_checkpoint(source, out, Recipe("magnitude", 0.5))
    elif method == "quantize":
        quantize_checkpoint(source, out, Quantization(bits=8, group_size=32))
    elif method == "depth":
        prune_structured(source, out, StructuredRecipe("depth", 0.5, repair=True, calibration=calibration))
    else:
        units = "heads" if method == "heads" else "mlp"
        prune_structured(source, out, StructuredRecipe("width", 0.5, units=units, calibration=calibration))
    return out


CASES = [
    *(("qwen3_vl", method) for method in ("magnitude", "width", "heads", "depth", "quantize")),
    *(("qwen3_5", method) for method in ("magnitude", "width", "quantize")),
    *(("gemma3", method) for method in ("magnitude", "width", "heads", "quantize")),
]


@pytest.mark.parametrize(("family", "method"), CASES)
def test_what_is_for_pictures_keeps_its_bytes(tmp_path, family, method, calibration):
    source = save_vision(tmp_path / "m", family)
    out = smaller(source, tmp_path / "out", method, calibration)
    before, after = open_shards(source), open_shards(out)
    for name in (PICTURES[family], PICTURES[family].replace(".weight", ".bias")):
        # Quantized models are mlx-lm's, which knows this part of one family by its older name.
        new = name.removeprefix("model.") if (family, method) == ("qwen3_vl", "quantize") else name
        np.testing.assert_array_equal(read_bits(after, new), read_bits(before, name))
        assert after.tensors[new].dtype == before.tensors[name].dtype
    if method != "quantize":
        assert after.tensors.keys() <= before.tensors.keys()
        assert method == "depth" or len(after.tensors) == len(before.tensors)
    config = json.loads((out / "config.json").read_text())
    assert config["vision_config"] == json.loads((source / "config.json").read_text())["vision_config"]
    stock, _ = mlx_lm.load(str(out))
    logits = stock(TOKENS).astype(mx.float32)
    assert mx.isfinite(logits).all().item()
    ours = Checkpoint(out).network("stored", lazy=False)
    np.testing.assert_allclose(np.array(logits), np.array(ours(TOKENS).astype(mx.float32)), atol=1e-2)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_tie_stated_for_the_whole_model_holds_for_its_text_part(tmp_path, family, tied):
    source = save_vision(tmp_path / "m", family)
    config = json.loads((source / "config.json").read_text())
    del config["text_config"]["tie_word_embeddings"]
    (source / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}))
    if tied:
        values = open_shards(source).load([n for n in open_shards(source).tensors if n != "lm_head.weight"])
        mx.eval(values)
        for file in source.glob("model*"):
            file.unlink()
        mx.save_safetensors(str(source / "model.safetensors"), values)
    network = Checkpoint(source).network("float32", lazy=False)
    heads = [name for name, _ in network.named_modules() if name.endswith("lm_head")]
    assert bool(heads) != tied
    assert mx.isfinite(network(TOKENS)).all().item()


def test_the_part_for_pictures_is_no_saving(tmp_path):
    source = save_vision(tmp_path / "m", "qwen3_vl")
    report = prune_structured(source, tmp_path / "out", StructuredRecipe("width", 0.5, scores="magnitude"))
    rows = 32 * 4 * 3 * 32  # half of the neurons, three matrices of 32 columns, in four blocks
    assert report.parameters.before - report.parameters.after == rows
    assert abs(report.bytes.before - report.bytes.after - 2 * rows) < 4096


def test_too_few_blocks_for_the_kinds_are_refused_with_that_reason(tmp_path, calibration):
    source = save_vision(tmp_path / "m", "gemma3")
    with pytest.raises(MlxPruneError, match="3 blocks only"):
        prune_structured(source, tmp_path / "out", StructuredRecipe("depth", 0.5, calibration=calibration))
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
@pytest.mark.parametrize("method", ["magnitude", "width", "depth"])
def test_transformers_loads_every_tensor_of_it(tmp_path, method, calibration):
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForImageTextToText

    eyes = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    eyes |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16, "patch_size": 4}
    text = TEXT | json.loads(json.dumps(FAMILIES["qwen3_vl"]))
    config = AutoConfig.for_model("qwen3_vl", text_config=text, vision_config=eyes, tie_word_embeddings=False)
    torch.manual_seed(0)
    source, out = tmp_path / "m", tmp_path / "out"
    AutoModelForImageTextToText.from_config(config).save_pretrained(source)
    save_tokenizer(source)
    smaller(source, out, method, calibration)
    theirs, info = AutoModelForImageTextToText.from_pretrained(
        out, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        found = theirs.eval()(torch.tensor(TOKENS.tolist())).logits.numpy()
    ours = Checkpoint(out).network("float32", lazy=False)
    np.testing.assert_allclose(np.array(ours(TOKENS)), found, atol=2e-4)
