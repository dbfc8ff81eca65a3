"""Quantized layers on a CPU computed by their values: the same answers, and the model is back as it was."""

import mlx.core as mx
import mlx.nn as nn
import pytest
from agreement import assert_agrees, compare, make_prompts
from mlx.utils import tree_flatten
from tiny_models import save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.environment import backend
from mlx_prune.generation import dequantized as module
from mlx_prune.generation.batched import BatchedEngine
from mlx_prune.generation.dequantized import dequantized
from mlx_prune.generation.interface import GenerationSettings

pytestmark = pytest.mark.skipif(backend() != "cpu", reason="a GPU multiplies by quantized matrices")

KINDS = {"affine": {"group_size": 32, "bits": 4}, "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}


def small(tmp_path, kind="affine", architecture="llama"):
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "head_dim": 32}
    loaded = checkpoints.load(save_tiny_model(tmp_path, architecture, **sizes))
    nn.quantize(loaded.model, **KINDS[kind])
    return loaded


def kinds_of(model):
    return [(name, type(layer)) for name, layer in model.named_modules()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_logits_are_those_of_the_quantized_layers(tmp_path, kind, architecture):
    model = small(tmp_path, kind, architecture).model
    tokens = mx.array([[5, 9, 2, 31, 7]])
    own, before, weights = model(tokens), kinds_of(model), dict(tree_flatten(model.parameters()))
    assert any(issubclass(layer, nn.QuantizedLinear) for _, layer in before)
    with dequantized(model) as plain:
        assert plain
        assert not any(issubclass(layer, nn.QuantizedLinear) for _, layer in kinds_of(model))
        found = model(tokens)
    close = 1e-5 if kind == "affine" else 2e-2  # such scales make bfloat16 of the values
    assert mx.max(mx.abs(found - own)) <= close * mx.max(mx.abs(own))
    assert kinds_of(model) == before
    after = dict(tree_flatten(model.parameters()))
    assert after.keys() == weights.keys()
    assert all(mx.array_equal(after[name], weights[name]) for name in weights)


def test_answers_are_those_of_the_quantized_model(tmp_path):
    loaded = small(tmp_path)
    settings = GenerationSettings(temperature=1.0, seeds=(42, 123))
    engine = BatchedEngine(loaded.model, loaded.tokenizer, settings, batch_size=5)
    before = kinds_of(loaded.model)
    prompts = make_prompts(loaded.tokenizer, 6)
    assert_agrees(compare(loaded.model, loaded.tokenizer, settings, engine, prompts))
    assert kinds_of(loaded.model) == before


def test_layers_are_back_after_an_error(tmp_path):
    model = small(tmp_path).model
    before = kinds_of(model)
    with pytest.raises(RuntimeError, match="stopped"), dequantized(model):
        raise RuntimeError("stopped")
    assert kinds_of(model) == before


def test_a_model_that_would_not_fit_stays_quantized(tmp_path, monkeypatch):
    model = small(tmp_path).model
    monkeypatch.setattr(module, "free_memory", lambda: 1000)
    with dequantized(model) as plain:
        assert not plain
        assert any(isinstance(layer, nn.QuantizedLinear) for _, layer in model.named_modules())


def test_a_model_without_quantized_layers_is_left_alone(tmp_path):
    with dequantized(checkpoints.load(save_tiny_model(tmp_path, "llama")).model) as plain:
        assert not plain
