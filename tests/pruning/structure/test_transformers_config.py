"""What a shallower model's configuration says of its blocks: kinds, and lists with an entry per block."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from narrowed_reference import LONG, logits, only_blocks
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.dimensions import with_blocks
from mlx_prune.pruning.structure import transformers_config
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structure.transformers_config import lists_per_block, with_block_kinds
from mlx_prune.pruning.structured_recipe import StructuredRecipe


def test_kinds_that_transformers_derives_from_the_index_are_listed(tmp_path, calibration):
    source = save_tiny_model(tmp_path / "m", "gemma2", num_hidden_layers=5)
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.2, calibration=calibration)
    )
    gone = report.removed["blocks"]["removed"]
    kinds = ["sliding_attention", "full_attention"] * 3
    kept = [kinds[i] for i in range(5) if i not in gone]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config.get("layer_types", kinds[:4]) == kept


def test_kinds_are_listed_in_the_part_of_the_language_model():
    text = {
        "model_type": "gemma3_text",
        "num_hidden_layers": 8,
        "hidden_size": 32,
        "intermediate_size": 40,
        "sliding_window_pattern": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 330,
    }
    kept = [0, 2, 3, 5, 6, 7]
    config = {"model_type": "gemma3", "text_config": text}
    lists = lists_per_block(config)
    found = with_block_kinds(config, with_blocks(config, kept, lists), kept, lists)
    kinds = ["full_attention" if index % 3 == 2 else "sliding_attention" for index in kept]
    assert found == {**config, "text_config": {**text, "num_hidden_layers": 6, "layer_types": kinds}}


def test_lists_with_an_entry_per_block_are_shortened(tmp_path, calibration):
    kinds = [
        "full_attention",
        "sliding_attention",
        "sliding_attention",
        "full_attention",
        "sliding_attention",
    ]
    source = save_tiny_model(
        tmp_path / "m",
        "llama",
        num_hidden_layers=5,
        layer_types=kinds,
        sliding_window=6,
        eos_token_id=[1, 2, 3, 4, 5],
    )
    report = prune_structured(
        source, tmp_path / "out", StructuredRecipe("depth", 0.4, calibration=calibration)
    )
    gone = report.removed["blocks"]["removed"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["layer_types"] == [kind for index, kind in enumerate(kinds) if index not in gone]
    assert config["eos_token_id"] == [1, 2, 3, 4, 5]
    expected = only_blocks(str(source), [i for i in range(5) if i not in gone])
    inner = expected.model.model
    inner.fa_idx, inner.swa_idx = 0, 0
    np.testing.assert_allclose(
        logits(tmp_path / "out", LONG), np.array(expected.model(mx.array(LONG))), atol=1e-5
    )


def test_other_lists_stay_however_long(tmp_path, calibration):
    lists = {
        "suppress_tokens": [1, 2, 3, 4],
        "begin_suppress_tokens": [5, 6, 7, 8],
        "architectures": ["LlamaForCausalLM"] * 4,
        "eos_token_id": [1, 9, 10, 11],
        "mlp_multipliers": [1.0, 2.0, 3.0, 4.0],
        "bad_words_ids": [[1], [2], [3], [4]],
    }
    source = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=4, **lists)
    prune_structured(source, tmp_path / "out", StructuredRecipe("depth", 0.5, calibration=calibration))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    assert {name: config[name] for name in lists} == lists


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "gemma2", "layer_types": ["full_attention"] * 3}, "layer_types"),
        ({"model_type": "smollm3", "no_rope_layers": [1, 1, 0]}, "no_rope_layers"),
        ({"model_type": "gemma3", "text_config": {"layer_types": ["full_attention"] * 3}}, "layer_types"),
    ],
)
def test_lists_that_transformers_makes_as_long_as_the_model_is_deep_are_found(monkeypatch, config, name):
    monkeypatch.setattr(transformers_config, "BLOCK_LISTS", frozenset())
    part = config.get("text_config", config)
    part |= {"num_hidden_layers": 3, "suppress_tokens": [1, 2, 3]}
    found = lists_per_block(config)
    assert name in found
    assert "suppress_tokens" not in found
