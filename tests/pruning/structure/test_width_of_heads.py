"""Key-value groups removed with their query heads, alone and together with neurons."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from narrowed_reference import TOKENS, logits, narrowed
from stored_bits import stored_values
from tiny_models import ARCHITECTURES, random_weights, save_tiny_model, save_tokenizer, save_weights

from mlx_prune.errors import RecipeError
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe

HEADS = {
    "llama": {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 14, "attention_bias": True},
    "mistral": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "gemma2": {"num_attention_heads": 3, "num_key_value_heads": 3},
    "qwen3": {"num_attention_heads": 10, "num_key_value_heads": 5},
}


@pytest.mark.parametrize("architecture", HEADS)
def test_groups_go_with_their_query_heads(tmp_path, architecture, calibration):
    source = save_tiny_model(tmp_path / "m", architecture, seed=1, **HEADS[architecture])
    groups = HEADS[architecture]["num_key_value_heads"]
    # What transformers reads: a width that the heads left divide.
    share = 0.8 if architecture == "qwen3" else 2 / 3 if groups == 3 else 0.5
    recipe = StructuredRecipe("width", share, units="heads", calibration=calibration)
    report = prune_structured(source, tmp_path / "out", recipe)
    kept = report.removed["groups"]["after"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    heads = HEADS[architecture]["num_attention_heads"]
    assert config["num_key_value_heads"] == kept
    assert config["num_attention_heads"] == heads // groups * kept
    size = config["head_dim"]
    owners = np.repeat(np.arange(groups), heads // groups * size)
    expected, chosen = narrowed(str(source), "self_attn.o_proj", calibration, owners, kept)
    np.testing.assert_allclose(
        logits(tmp_path / "out"), np.array(expected.model(mx.array(TOKENS))), atol=2e-4
    )
    for stay, gone in zip(chosen, report.removed["groups"]["removed"], strict=True):
        assert sorted(set(owners[stay]) | set(gone)) == list(range(groups))


def test_heads_and_neurons_go_together(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "mistral", seed=1)
    recipe = StructuredRecipe("width", 0.5, units="both", calibration=calibration)
    report = prune_structured(source, tmp_path / "both", recipe)
    prune_structured(
        source, tmp_path / "h", StructuredRecipe("width", 0.5, units="heads", calibration=calibration)
    )
    two = stored_values(tmp_path / "both")
    one = stored_values(tmp_path / "h")
    # The first block's heads are chosen before anything else is cut.
    for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
        name = f"model.layers.0.self_attn.{part}.weight"
        np.testing.assert_array_equal(two[name], one[name])
    assert set(report.removed) == {"neurons", "groups"}
    assert np.isfinite(logits(tmp_path / "both")).all()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("architecture", "overrides", "recipe"),
    [
        *((name, {}, {"units": "mlp"}) for name in ARCHITECTURES),
        ("mistral", {}, {"units": "both"}),
        ("gemma2", {"num_key_value_heads": 3}, {"units": "heads", "repair": True}),
    ],
)
def test_transformers_loads_it_with_equal_logits(tmp_path, architecture, overrides, recipe, calibration):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    source = save_tiny_model(tmp_path / "m", architecture, shards=2, **overrides)
    share = 2 / 3 if overrides else 0.5
    prune_structured(
        source, tmp_path / "out", StructuredRecipe("width", share, calibration=calibration, **recipe)
    )
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        found = theirs(torch.tensor(TOKENS)).logits.numpy()
    np.testing.assert_allclose(found, logits(tmp_path / "out"), atol=2e-4)


def test_a_head_size_that_follows_from_the_number_of_heads_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "m", "phi3")
    with pytest.raises(RecipeError, match="attention whose heads"):
        prune_structured(
            source, tmp_path / "out", StructuredRecipe("width", 0.5, units="heads", scores="magnitude")
        )
    assert list(tmp_path.iterdir()) == [source]


def test_a_number_of_heads_that_transformers_would_refuse_is_refused(tmp_path):
    source = save_tiny_model(
        tmp_path / "m", "llama", hidden_size=40, num_attention_heads=10, num_key_value_heads=5
    )
    with pytest.raises(RecipeError, match="remove another share"):
        prune_structured(
            source, tmp_path / "out", StructuredRecipe("width", 0.4, units="heads", scores="magnitude")
        )
    assert list(tmp_path.iterdir()) == [source]


def test_a_norm_over_all_heads_is_found_out_and_nothing_is_left(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    config = {
        "model_type": "olmo2",
        "architectures": ["Olmo2ForCausalLM"],
        "hidden_size": 36,
        "intermediate_size": 59,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "head_dim": 6,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 128,
        "vocab_size": 330,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(folder, random_weights(config, 4))
    save_tokenizer(folder)
    recipe = StructuredRecipe("width", 0.5, units="heads", scores="magnitude")
    with pytest.raises(RecipeError, match="would compute something else"):
        prune_structured(folder, tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()
