"""Narrower blocks against whole models whose removed columns are zero."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from narrowed_reference import TOKENS, logits, narrowed
from stored_bits import read_bits, stored_values
from tiny_models import ARCHITECTURES, random_weights, save_tiny_model, save_tokenizer, save_weights

from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe


@pytest.mark.parametrize("statistics", ["sequential", "dense"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_equal_those_of_the_whole_model_without_the_removed_columns(
    tmp_path, architecture, statistics, calibration
):
    source = save_tiny_model(tmp_path / "m", architecture, seed=5, shards=2)
    recipe = StructuredRecipe("width", 0.4, statistics=statistics, calibration=calibration)
    report = prune_structured(source, tmp_path / "out", recipe)
    neurons = json.loads((source / "config.json").read_text())["intermediate_size"]
    kept = recipe.kept_neurons(neurons)
    assert kept % 8 == 0
    assert kept < neurons
    expected, chosen = narrowed(
        str(source), "mlp.down_proj", calibration, np.arange(neurons), kept, statistics=statistics
    )
    np.testing.assert_allclose(
        logits(tmp_path / "out"), np.array(expected.model(mx.array(TOKENS))), atol=2e-4
    )
    before, after = stored_values(source), stored_values(tmp_path / "out")
    for block, stay in enumerate(chosen):
        name = f"model.layers.{block}.mlp.down_proj.weight"
        np.testing.assert_array_equal(after[name], before[name][:, stay])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["intermediate_size"] == kept
    assert report.removed == {"neurons": {"before": neurons, "after": kept}}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_tensors_are_slices_of_the_stored_ones_and_the_others_keep_their_bytes(tmp_path, architecture, dtype):
    source = save_tiny_model(tmp_path / "m", architecture, dtype=dtype, shards=3)
    recipe = StructuredRecipe("width", 0.5, scores="magnitude")
    report = prune_structured(source, tmp_path / "out", recipe)
    assert report.layout == "source"
    before, after = open_shards(source), open_shards(tmp_path / "out")
    assert before.tensors.keys() == after.tensors.keys()
    for name, info in before.tensors.items():
        old, new = read_bits(before, name), read_bits(after, name)
        assert after.tensors[name].dtype == info.dtype
        if ".mlp." not in name:
            np.testing.assert_array_equal(old, new)
        elif "down_proj" in name:
            # Every kept column is one of the source, in order.
            at = [np.flatnonzero((old == column[:, None]).all(axis=0))[0] for column in new.T]
            assert at == sorted(at)
            prefix = name.removesuffix("down_proj.weight")
            if architecture == "phi3":
                fused, n = read_bits(before, f"{prefix}gate_up_proj.weight"), old.shape[1]
                rows = np.concatenate([fused[at], fused[[n + row for row in at]]])
                np.testing.assert_array_equal(read_bits(after, f"{prefix}gate_up_proj.weight"), rows)
            else:
                for part in ("gate_proj", "up_proj"):
                    rows = read_bits(before, f"{prefix}{part}.weight")[at]
                    np.testing.assert_array_equal(read_bits(after, f"{prefix}{part}.weight"), rows)


@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_magnitude_keeps_the_neurons_with_the_largest_sum_of_absolute_weights(tmp_path, architecture):
    source = save_tiny_model(tmp_path / "m", architecture, mlp_bias=True, seed=2)
    prune_structured(source, tmp_path / "out", StructuredRecipe("width", 0.3, scores="magnitude", multiple=1))
    before, after = stored_values(source), stored_values(tmp_path / "out")
    for block in range(3):
        mlp = {n: v.astype(np.float64) for n, v in before.items() if f"layers.{block}.mlp." in n}
        down = next(v for n, v in mlp.items() if n.endswith("down_proj.weight"))
        n = down.shape[1]
        scores = np.abs(down).sum(axis=0)
        for name, v in mlp.items():
            if "down_proj" not in name:
                scores = scores + np.abs(v).reshape(-1, n, *v.shape[1:]).sum(
                    axis=tuple(i for i in range(v.ndim + 1) if i != 1)
                )
        stay = np.sort(np.argsort(-scores)[: round(0.7 * n)])
        name = f"model.layers.{block}.mlp.down_proj.weight"
        np.testing.assert_array_equal(after[name], before[name][:, stay])


GEMMA3 = {
    "model_type": "gemma3_text",
    "architectures": ["Gemma3ForCausalLM"],
    "hidden_size": 36,
    "intermediate_size": 47,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "query_pre_attn_scalar": 10,
    "rms_norm_eps": 1e-6,
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 300000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
    },
    "max_position_embeddings": 512,
    "vocab_size": 330,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def save_tied_gemma3(folder):
    """A model whose head mlx-lm lets go of as it loads the weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(GEMMA3))
    save_weights(folder, {k: v for k, v in random_weights(GEMMA3, 4).items() if k != "lm_head.weight"})
    save_tokenizer(folder)
    return folder


@pytest.mark.parametrize("units", ["mlp", "heads"])
def test_a_model_whose_head_is_tied_as_it_is_loaded_is_narrowed(tmp_path, units):
    source = save_tied_gemma3(tmp_path / "m")
    multiple = 1 if units == "mlp" else None
    recipe = StructuredRecipe("width", 0.5, units=units, scores="magnitude", multiple=multiple)
    report = prune_structured(source, tmp_path / "out", recipe)
    assert report.layout == "source"
    assert "lm_head.weight" not in open_shards(tmp_path / "out").tensors
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["intermediate_size"] == (24 if units == "mlp" else 47)
    assert config["num_key_value_heads"] == (2 if units == "mlp" else 1)
    assert np.isfinite(logits(tmp_path / "out")).all()
    assert config["rope_local_base_freq"] == 500.0  # where mlx-lm reads it


def save_starcoder2(folder):
    """An MLP of two matrices with biases, c_fc and c_proj."""
    folder.mkdir()
    config = {
        "model_type": "starcoder2",
        "architectures": ["Starcoder2ForCausalLM"],
        "hidden_size": 36,
        "intermediate_size": 59,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "norm_epsilon": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 128,
        "vocab_size": 330,
        "tie_word_embeddings": True,
        "use_bias": True,
        "hidden_act": "gelu_pytorch_tanh",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(folder, random_weights(config, 4))
    save_tokenizer(folder)
    return folder


def test_an_mlp_of_two_matrices_with_biases_is_narrowed(tmp_path, calibration):
    source = save_starcoder2(tmp_path / "m")
    recipe = StructuredRecipe("width", 0.5, calibration=calibration, multiple=3)
    prune_structured(source, tmp_path / "out", recipe)
    expected, _ = narrowed(str(source), "mlp.c_proj", calibration, np.arange(59), 30)
    np.testing.assert_allclose(
        logits(tmp_path / "out"), np.array(expected.model(mx.array(TOKENS))), atol=2e-4
    )
    after = stored_values(tmp_path / "out")
    assert after["model.layers.1.mlp.c_fc.bias"].shape == (30,)
    assert after["model.layers.1.mlp.c_proj.bias"].shape == (36,)


def test_a_mixture_of_experts_is_refused(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    config = {
        "model_type": "mixtral",
        "architectures": ["MixtralForCausalLM"],
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": 330,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(folder, random_weights(config, 4))
    save_tokenizer(folder)
    with pytest.raises(RecipeError, match="does not cut experts"):
        prune_structured(folder, tmp_path / "out", StructuredRecipe("width", 0.5, scores="magnitude"))


def test_activations_that_are_not_finite_are_refused(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama")
    weights = stored_values(source)
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = np.nan
    save_weights(source, weights)
    with pytest.raises(CheckpointError, match="not finite"):
        prune_structured(source, tmp_path / "out", StructuredRecipe("width", 0.5, calibration=calibration))


def test_quantized_weights_are_refused(tmp_path):
    from mlx_lm.utils import quantize_model, save_model

    model = load(
        save_tiny_model(tmp_path / "m", "llama", hidden_size=64, intermediate_size=64, num_attention_heads=4)
    )
    quantized, config = quantize_model(model.model, dict(model.config), 64, 4)
    (tmp_path / "q").mkdir()
    save_model(tmp_path / "q", quantized)
    (tmp_path / "q" / "config.json").write_text(json.dumps(config))
    save_tokenizer(tmp_path / "q")
    with pytest.raises(CheckpointError, match="quantized"):
        prune_structured(tmp_path / "q", tmp_path / "out", StructuredRecipe("width", 0.5, scores="magnitude"))
