"""Rotary positions as transformers 5 writes them reach mlx-lm, or the model is refused."""

from __future__ import annotations

import copy
import json

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.config import read_config
from mlx_prune.checkpoint.open import Checkpoint, load
from mlx_prune.checkpoint.rope import lifted
from mlx_prune.errors import CheckpointError
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe

TOKENS = mx.arange(5, 45).reshape(1, -1)
PLAIN = {"rope_type": "default", "rope_theta": 3e5}
LINEAR = {"rope_type": "linear", "rope_theta": 3e5, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 3e5, "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 3e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 3e5,
    "short_factor": [1.5] * 8,
    "long_factor": [1.5] * 8,
    "original_max_position_embeddings": 512,
}
LOCAL = {"rope_type": "default", "rope_theta": 500.0}


def half(rope):
    return {**rope, "partial_rotary_factor": 0.5}


def only_inside(folder, **entries):
    """Say it as transformers 5 does."""
    file = folder / "config.json"
    config = {
        k: v for k, v in json.loads(file.read_text()).items() if k not in ("rope_theta", "rope_scaling")
    }
    file.write_text(json.dumps({**config, **entries}))
    return folder


def logits(folder):
    network = Checkpoint(folder).network("float32", lazy=False)
    return np.array(network(TOKENS))


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2", "phi3", "qwen3"])
def test_a_base_stated_only_inside_is_the_one_beside(tmp_path, architecture):
    wanted = logits(save_tiny_model(tmp_path / "beside", architecture, rope_theta=3e5))
    other = logits(save_tiny_model(tmp_path / "default", architecture))
    inside = only_inside(save_tiny_model(tmp_path / "inside", architecture), rope_parameters=PLAIN)
    np.testing.assert_allclose(logits(inside), wanted, atol=1e-5)
    assert np.abs(other - wanted).max() > 1e-3


@pytest.mark.parametrize("rope", [LINEAR, YARN, LLAMA3], ids=lambda rope: rope["rope_type"])
def test_a_scaling_stated_only_inside_is_the_one_beside(tmp_path, rope):
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    wanted = logits(save_tiny_model(tmp_path / "beside", "llama", rope_theta=3e5, rope_scaling=scaling))
    unscaled = logits(save_tiny_model(tmp_path / "unscaled", "llama", rope_theta=3e5))
    inside = only_inside(save_tiny_model(tmp_path / "inside", "llama"), rope_parameters=rope)
    np.testing.assert_allclose(logits(inside), wanted, atol=1e-5)
    assert np.abs(unscaled - wanted).max() > 1e-3


def test_what_stands_inside_wins_over_what_stands_beside(tmp_path):
    wanted = logits(save_tiny_model(tmp_path / "m", "llama", rope_theta=3e5))
    both = save_tiny_model(tmp_path / "both", "llama", rope_theta=7e5, rope_parameters=PLAIN)
    np.testing.assert_allclose(logits(both), wanted, atol=1e-5)


BY_KIND = {"full_attention": PLAIN, "sliding_attention": LOCAL}
LINEAR_BY_KIND = {"full_attention": LINEAR, "sliding_attention": LOCAL}
LIFTED = {
    "one base": (
        {"model_type": "llama", "rope_parameters": PLAIN},
        {"rope_theta": 3e5, "rope_scaling": None},
    ),
    "base and share of a head": (
        {"model_type": "stablelm", "rope_parameters": half(PLAIN)},
        {"rope_theta": 3e5, "partial_rotary_factor": 0.5},
    ),
    "names of their own": (
        {"model_type": "gpt_neox", "rope_parameters": half(PLAIN)},
        {"rotary_emb_base": 3e5, "rotary_pct": 0.5},
    ),
    "a scaling in both spellings": (
        {"model_type": "qwen2", "rope_parameters": LINEAR},
        {"rope_theta": 3e5, "rope_scaling": {**LINEAR, "type": "linear"}},
    ),
    "a base per kind of layer": (
        {
            "model_type": "gemma3_text",
            "rope_parameters": {"full_attention": LINEAR, "sliding_attention": LOCAL},
        },
        {
            "rope_theta": 3e5,
            "rope_local_base_freq": 500.0,
            "rope_scaling": {**LINEAR, "type": "linear"},
        },
    ),
    "an architecture that reads them itself": (
        {"model_type": "laguna", "rope_parameters": BY_KIND},
        {},
    ),
    "nothing stated": ({"model_type": "llama", "rope_theta": 5.0}, {}),
    "all there already": (
        {"model_type": "llama", "rope_theta": 3e5, "rope_scaling": None, "rope_parameters": PLAIN},
        {},
    ),
}


@pytest.mark.parametrize("name", LIFTED)
def test_entries_are_added_where_mlx_lm_reads_them(name):
    config, added = LIFTED[name]
    assert lifted(config) == {**config, **added}
    assert lifted(lifted(config)) == lifted(config)
    inside = {"model_type": "a_model_of_text_and_pictures", "text_config": config}
    assert lifted(inside)["text_config"] == {**config, **added}


KINDS = ["sliding_attention", "full_attention", "full_attention"]
REFUSED = {
    "a text": ("llama", {"rope_scaling": "linear"}, "rope_scaling as 'linear'"),
    "a list": ("llama", {"rope_parameters": [1]}, r"rope_parameters as \[1\]"),
    "a base of no size": ("llama", {"rope_parameters": {**PLAIN, "rope_theta": "big"}}, "'big'"),
    "a base below zero": ("mistral", {"rope_parameters": {**PLAIN, "rope_theta": -1}}, "positive"),
    "a base beyond floats": ("llama", {"rope_parameters": {**PLAIN, "rope_theta": 10**400}}, "positive"),
    "a base of one kind of layer": (
        "mistral",
        {"rope_parameters": {**BY_KIND, "full_attention": {**PLAIN, "rope_theta": "big"}}},
        "rope_theta in full_attention of rope_parameters as 'big'",
    ),
    "a scaling nobody reads": ("gemma2", {"rope_parameters": YARN}, "by yarn, .* mlx-lm's gemma2"),
    "a scaling nobody reads, beside": (
        "gemma2",
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "linear",
    ),
    "a share nobody reads": ("qwen3", {"rope_parameters": half(PLAIN)}, "turns 3 of the 6 values"),
    "a share nobody reads, beside": (
        "qwen3",
        {"partial_rotary_factor": 0.5, "rope_theta": 10.0},
        "3 of the 6",
    ),
    "bases nobody reads": (
        "llama",
        {"rope_parameters": BY_KIND, "layer_types": KINDS, "sliding_window": 8},
        "base 500",
    ),
    "a type that is none": ("llama", {"rope_parameters": {**PLAIN, "rope_type": "spiral"}}, "spiral"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_computed_is_one_sentence(tmp_path, name):
    architecture, entries, said = REFUSED[name]
    folder = only_inside(save_tiny_model(tmp_path / "m", architecture), **entries)
    with pytest.raises(CheckpointError, match=said) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_a_base_of_layers_that_are_not_there_need_not_be_computed(tmp_path):
    rope = {"full_attention": PLAIN, "sliding_attention": LOCAL}
    entries = {"rope_parameters": rope, "layer_types": KINDS[1:] * 2, "sliding_window": 8}
    folder = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4)
    load(only_inside(folder, **entries))


def smaller(folder, out, method):
    if method == "magnitude":
        prune_checkpoint(folder, out, Recipe("magnitude", 0.3))
    else:
        prune_structured(folder, out, StructuredRecipe("width", 0.3, scores="magnitude"))
    return out


@pytest.mark.parametrize("method", ["magnitude", "width"])
def test_stock_mlx_lm_reads_the_pruned_model(tmp_path, method):
    folder = only_inside(save_tiny_model(tmp_path / "m", "llama"), rope_parameters=LLAMA3)
    out = smaller(folder, tmp_path / "out", method)
    written = json.loads((out / "config.json").read_text())
    assert written["rope_parameters"] == LLAMA3
    assert written["rope_theta"] == 3e5
    stock, _ = mlx_lm.load(str(out))
    np.testing.assert_allclose(np.array(stock(TOKENS)), logits(out), atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("method", ["magnitude", "width"])
def test_transformers_reads_the_pruned_model(tmp_path, method):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    folder = only_inside(save_tiny_model(tmp_path / "m", "llama"), rope_parameters=LLAMA3)
    out = smaller(folder, tmp_path / "out", method)
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    with torch.no_grad():
        found = theirs(torch.tensor(TOKENS.tolist())).logits.numpy()
    np.testing.assert_allclose(found, logits(out), atol=2e-4)


def test_a_config_that_says_it_already_is_copied_byte_for_byte(tmp_path):
    folder = save_tiny_model(
        tmp_path / "m", "llama", rope_parameters=PLAIN, rope_theta=3e5, rope_scaling=None
    )
    prune_checkpoint(folder, tmp_path / "out", Recipe("magnitude", 0.3))
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


TURNS = ["sliding_attention", "full_attention"] * 2
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
FAMILIES = [
    ("llama", PLAIN, {}),
    ("llama", LINEAR, {}),
    ("llama", LLAMA3, {}),
    ("llama", YARN, {}),
    ("mistral", PLAIN, {"sliding_window": None}),
    ("mixtral", PLAIN, EXPERTS),
    ("gemma2", PLAIN, {"head_dim": 16}),
    ("gemma3_text", BY_KIND, {"head_dim": 16, "layer_types": TURNS, "sliding_window_pattern": 2}),
    ("gemma3_text", LINEAR_BY_KIND, {"head_dim": 16, "layer_types": TURNS, "sliding_window_pattern": 2}),
    ("phi", half(PLAIN), {"num_key_value_heads": 4}),
    ("phi3", half(PLAIN), {}),
    ("phi3", LONG, {"original_max_position_embeddings": 512}),
    ("qwen2", PLAIN, {}),
    ("qwen3", YARN, {"head_dim": 16}),
    ("olmo2", PLAIN, {}),
    (
        "olmo3",
        {"full_attention": YARN, "sliding_attention": PLAIN},
        {"layer_types": [*TURNS[:1] * 3, TURNS[1]]},
    ),
    ("cohere", PLAIN, {}),
    ("stablelm", {**PLAIN, "partial_rotary_factor": 0.25}, {}),
    ("glm4", half(PLAIN), {"head_dim": 16}),
    ("starcoder2", PLAIN, {}),
    ("granite", PLAIN, {}),
    ("smollm3", PLAIN, {}),
    ("helium", PLAIN, {"head_dim": 16}),
    ("nemotron", half(PLAIN), {}),
    ("olmoe", PLAIN, EXPERTS),
]


@pytest.mark.torch
@pytest.mark.parametrize(("family", "rope", "entries"), FAMILIES, ids=lambda value: str(value)[:24])
def test_a_model_as_transformers_writes_it_gives_its_logits(tmp_path, family, rope, entries):
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    # Transformers writes into the dictionary it is given.
    config = AutoConfig.for_model(family, **SMALL | entries, rope_parameters=copy.deepcopy(rope))
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 1.5 / weight.shape[-1] ** 0.5)
        wanted = theirs(torch.tensor(TOKENS.tolist())).logits.numpy()
    theirs.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert "rope_theta" not in stored
    assert read_config(tmp_path) != stored
    np.testing.assert_allclose(logits(tmp_path), wanted, atol=5e-3 * np.abs(wanted).std())
