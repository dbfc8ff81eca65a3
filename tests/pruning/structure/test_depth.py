"""Shallower models against the original network with only the kept blocks, and scores against float64."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from narrowed_reference import LONG, TOKENS, logits, only_blocks
from stored_bits import read_bits
from tiny_models import ARCHITECTURES, random_weights, save_tiny_model, save_tokenizer, save_weights

from mlx_prune.activations.blocks import calls_replaced
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe


def states(source, calibration):
    """Hidden states before the first block and after each, [blocks + 1, samples, length, width] float64."""
    model = load(source)
    tokens = calibration_tokens(calibration, model.tokenizer, model.config, 0).tokens
    seen = []

    def keep(block, x, *args, **kwargs):
        out = type(block).__mro__[1].__call__(block, x, *args, **kwargs)
        seen.extend([x, out] if not seen else [out])
        return out

    with calls_replaced(blocks(model.model), keep):
        mx.eval(model.model(mx.array(tokens)))
    return np.stack([np.array(x).astype(np.float64) for x in seen])


def cosines(a, b):
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_of_least_influence_go_and_the_others_compute_as_before(tmp_path, architecture, calibration):
    source = save_tiny_model(tmp_path / "m", architecture, num_hidden_layers=5, seed=8, shards=2)
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.4, calibration=calibration)
    )
    x = states(source, calibration)
    influence = 1 - np.array([cosines(x[i], x[i + 1]).mean() for i in range(5)])
    gone = sorted(np.argsort(influence, kind="stable")[:2].tolist())
    entry = report.removed["blocks"]
    assert (entry["before"], entry["after"], entry["removed"]) == (5, 3, gone)
    np.testing.assert_allclose(entry["scores"], influence, atol=1e-5)
    expected = only_blocks(str(source), [i for i in range(5) if i not in gone])
    np.testing.assert_allclose(
        logits(tmp_path / "out"), np.array(expected.model(mx.array(TOKENS))), atol=1e-5
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 3


def test_a_contiguous_run_is_the_one_with_the_smallest_angle(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "qwen3", num_hidden_layers=6, seed=2)
    recipe = StructuredRecipe("depth", 0.5, contiguous=True, calibration=calibration)
    report = prune_structured(source, tmp_path / "out", recipe)
    x = states(source, calibration)[:, :, -1]
    angles = np.array([np.arccos(cosines(x[i], x[i + 3])).mean() / np.pi for i in range(4)])
    first = int(angles.argmin())
    assert report.removed["blocks"]["removed"] == [first, first + 1, first + 2]
    np.testing.assert_allclose(report.removed["blocks"]["scores"], angles, atol=1e-5)
    expected = only_blocks(str(source), [i for i in range(6) if not first <= i < first + 3])
    np.testing.assert_allclose(
        logits(tmp_path / "out"), np.array(expected.model(mx.array(TOKENS))), atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_tensors_keep_their_bytes_under_new_numbers(tmp_path, dtype, calibration):
    source = save_tiny_model(tmp_path / "m", "gemma2", dtype=dtype, num_hidden_layers=4, shards=3)
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.5, calibration=calibration)
    )
    before, after = open_shards(source), open_shards(tmp_path / "out")
    kept = [i for i in range(4) if i not in report.removed["blocks"]["removed"]]
    assert "lm_head.weight" not in after.tensors
    assert len(after.tensors) < len(before.tensors)
    for name in after.tensors:
        old = name
        if name.startswith("model.layers."):
            _, _, number, rest = name.split(".", 3)
            old = f"model.layers.{kept[int(number)]}.{rest}"
        np.testing.assert_array_equal(read_bits(after, name), read_bits(before, old))


@pytest.mark.torch
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_transformers_loads_it_with_the_logits_of_the_kept_blocks(tmp_path, architecture, calibration):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    # A window that the tokens exceed: transformers' kinds of blocks matter where it has them.
    window = {"sliding_window": 8} if architecture == "gemma2" else {}
    source = save_tiny_model(tmp_path / "m", architecture, num_hidden_layers=5, seed=3, **window)
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.4, calibration=calibration)
    )

    def theirs(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")

    whole, smaller = theirs(source), theirs(tmp_path / "out")
    gone = report.removed["blocks"]["removed"]
    with torch.no_grad():
        found = smaller(torch.tensor(LONG)).logits.numpy()
        whole.model.layers = torch.nn.ModuleList(
            layer for index, layer in enumerate(whole.model.layers) if index not in gone
        )
        kinds = getattr(whole.config, "layer_types", None)
        if kinds is not None:
            whole.config.layer_types = [kind for index, kind in enumerate(kinds) if index not in gone]
            assert smaller.config.layer_types == whole.config.layer_types
        whole.config.num_hidden_layers = len(whole.model.layers)
        for index, layer in enumerate(whole.model.layers):
            layer.self_attn.layer_idx = index
        expected = whole(torch.tensor(LONG), use_cache=False).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4)
    if not window:
        np.testing.assert_allclose(found, logits(tmp_path / "out", LONG), atol=2e-4)


def save(folder, config, seed=4):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(folder, random_weights(config, seed))
    save_tokenizer(folder)
    return folder


MIXTRAL = {
    "model_type": "mixtral",
    "architectures": ["MixtralForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 330,
}


def test_blocks_of_experts_go_whole(tmp_path, calibration):
    source = save(tmp_path / "m", MIXTRAL)
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.34, calibration=calibration)
    )
    kept = [i for i in range(3) if i not in report.removed["blocks"]["removed"]]
    expected = only_blocks(str(source), kept)
    np.testing.assert_allclose(
        logits(tmp_path / "out"), np.array(expected.model(mx.array(TOKENS))), atol=1e-5
    )
    assert report.actual_sparsity == pytest.approx(1 / 3)
    # Of four experts a token meets two: 2 x (attention + router + half the experts) per block, plus the head.
    attention, router, experts = 2 * 32 * 32 + 2 * 16 * 32, 4 * 32, 4 * 3 * 32 * 48
    block = 2 * (attention + router + experts // 2) + 4 * 512 * 32
    assert report.flops_per_token.before == 3 * block + 2 * 330 * 32
    assert report.flops_per_token.after == 2 * block + 2 * 330 * 32


QWEN_MOE = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [1, 3],
    "norm_topk_prob": True,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "vocab_size": 330,
}


def test_lists_of_block_indices_follow_the_new_numbers(tmp_path, calibration):
    source = save(tmp_path / "m", QWEN_MOE)
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.25, calibration=calibration)
    )
    kept = [i for i in range(4) if i not in report.removed["blocks"]["removed"]]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["mlp_only_layers"] == [new for new, old in enumerate(kept) if old in (1, 3)]
    expected = only_blocks(str(source), kept)
    np.testing.assert_allclose(
        logits(tmp_path / "out"), np.array(expected.model(mx.array(TOKENS))), atol=1e-5
    )


def test_kinds_that_mlx_lm_takes_from_the_index_are_refused(tmp_path, calibration):
    config = {
        "model_type": "gemma3_text",
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "vocab_size": 330,
        "sliding_window": 64,
        "sliding_window_pattern": 3,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "query_pre_attn_scalar": 8,
        "max_position_embeddings": 128,
    }
    source = save(tmp_path / "m", config)
    weights = random_weights(config)
    for part in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"model.layers.1.{part}.weight"][:] = 0  # changes nothing, so it goes first
    save_weights(source, weights)
    with pytest.raises(RecipeError, match="kind follows from its place"):
        prune_structured(source, tmp_path / "out", StructuredRecipe("depth", 0.17, calibration=calibration))
    assert list(tmp_path.iterdir()) == [source]


def test_a_checkpoint_that_mlx_lm_renames_is_written_under_its_names(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4)
    shards = open_shards(source)
    weights = {f"language_model.{name}": np.array(a) for name, a in shards.load(shards.tensors).items()}
    config = json.loads((source / "config.json").read_text())
    wrapped = {"model_type": "mistral3", "text_config": config, "vocab_size": config["vocab_size"]}
    (source / "config.json").write_text(json.dumps(wrapped))
    save_weights(source, weights)
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.5, calibration=calibration)
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["text_config"]["num_hidden_layers"] == 2
    kept = [i for i in range(4) if i not in report.removed["blocks"]["removed"]]
    whole = load(source)
    inner = whole.model.language_model.model
    inner.layers = [inner.layers[i] for i in kept]
    np.testing.assert_allclose(logits(tmp_path / "out"), np.array(whole.model(mx.array(TOKENS))), atol=1e-5)
