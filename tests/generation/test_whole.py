"""Forwards over whole sequences are what a model generates from, also where it needs its cache for that."""

from __future__ import annotations

import itertools
import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import make_prompt_cache
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.activations.blocks import refuse_shared_caches
from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.errors import CheckpointError
from mlx_prune.generation.slices import SlicedLogits
from mlx_prune.generation.whole import cache_matters, whole_forward
from mlx_prune.runs.perplexity import perplexity_of_tokens


@pytest.fixture(scope="module")
def sharing() -> Any:
    """A gemma3n, half of whose blocks read the keys and values of others."""
    from mlx_lm.models.gemma3n import Model, ModelArgs

    text = {
        "model_type": "gemma3n",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-5,
        "vocab_size": 330,
        "num_key_value_heads": 1,
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": 330,
        "sliding_window": 64,
        "max_position_embeddings": 512,
        "rope_local_base_freq": 10000.0,
        "rope_theta": 10000.0,
        "final_logit_softcapping": 30.0,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.0] * 4,
        "hidden_size_per_layer_input": 8,
        "altup_num_inputs": 2,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "altup_active_idx": 0,
        "laurel_rank": 4,
    }
    model = Model(ModelArgs(model_type="gemma3n", text_config=text))
    rng = np.random.default_rng(0)
    shapes = [(name, array.shape) for name, array in tree_flatten(model.parameters())]
    values = [
        (name, rng.standard_normal(shape) / np.sqrt(shape[-1]) if len(shape) > 1 else np.ones(shape))
        for name, shape in shapes
    ]
    model.update(tree_unflatten([(name, mx.array(v, mx.float32)) for name, v in values]))
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_that_compute_the_same_without_a_cache_run_without_one(
    tmp_path: Any, architecture: str, dtype: str
) -> None:
    model = checkpoints.load(save_tiny_model(tmp_path / "m", architecture), dtype=dtype).model
    assert not cache_matters(model)
    assert whole_forward(model) is model
    refuse_shared_caches(model)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
def test_a_family_that_shares_keys_through_the_cache_gets_one(sharing: Any, dtype: mx.Dtype) -> None:
    before = sharing.parameters()
    try:
        sharing.set_dtype(dtype)
        assert cache_matters(sharing)
    finally:
        sharing.update(before)


def test_perplexity_of_such_a_family_is_that_of_decoding_token_by_token(sharing: Any) -> None:
    tokens = np.random.default_rng(1).integers(5, 330, (3, 24)).astype(np.int32)
    losses = []
    for row in tokens:
        cache = make_prompt_cache(sharing)
        for token, following in itertools.pairwise(row):
            logits = np.array(sharing(mx.array([[int(token)]]), cache=cache)[0, -1], np.float64)
            losses.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[following])
    right = math.exp(float(np.mean(losses)))
    found = perplexity_of_tokens(SlicedLogits(sharing), tokens, batch_size=2).value
    assert found == pytest.approx(right, rel=1e-4)


def test_activations_of_such_a_family_are_not_measured_block_by_block(sharing: Any) -> None:
    with pytest.raises(CheckpointError, match="read each other's keys and values"):
        refuse_shared_caches(sharing)
    tokens = np.random.default_rng(1).integers(5, 330, (2, 16)).astype(np.int32)
    steps = BlockSteps(sharing, prunable_linears(sharing), CalibrationTokens(tokens, "random", ""), config={})
    with pytest.raises(CheckpointError, match="by magnitude or at random"):
        steps.begin(HiddenStates(len(steps.batches)))


def test_a_model_that_cannot_do_without_a_cache_gets_one() -> None:
    class Needs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers: list[nn.Module] = []

        def __call__(self, tokens: mx.array, cache: Any = None) -> mx.array:
            len(cache)
            return mx.zeros((*tokens.shape, 12))

    assert cache_matters(Needs())
