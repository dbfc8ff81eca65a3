"""Counts published with the study, from the real configurations, without allocating a weight."""

from __future__ import annotations

import mlx.core as mx
import pytest
from mlx_lm.utils import _get_classes
from planned_zeros import planned_zeros

from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.pruning.recipe import Recipe

GEMMA = {
    "model_type": "gemma2",
    "hidden_size": 3584,
    "num_hidden_layers": 42,
    "intermediate_size": 14336,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "vocab_size": 256000,
}
MISTRAL = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32768,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
}
PHI = {
    "model_type": "phi3",
    "hidden_size": 3072,
    "num_hidden_layers": 32,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32064,
}


def linears_of(config):
    model_class, args_class = _get_classes(config)
    return prunable_linears(model_class(args_class.from_dict(config)))


@pytest.mark.parametrize(
    ("config", "published"),
    [(GEMMA, 8_323_596_288), (MISTRAL, 6_979_321_856), (PHI, 3_623_878_656)],
    ids=["gemma-2-9b-it", "Mistral-7B-v0.3", "Phi-3.5-mini"],
)
def test_prunable_parameters_equal_the_published_counts(config, published):
    before = mx.get_active_memory()
    assert sum(linear.size for linear in linears_of(config)) == published
    assert mx.get_active_memory() - before < 1 << 20


@pytest.mark.parametrize(
    ("config", "percent"),
    [
        (GEMMA, {10: 6.66, 30: 20.00, 50: 33.33, 70: 46.65}),
        (MISTRAL, {10: 6.53, 30: 19.60, 50: 32.69, 70: 45.77}),
        (PHI, {10: 6.94, 30: 20.82, 50: 34.72, 70: 48.60}),
    ],
    ids=["gemma-2-9b-it", "Mistral-7B-v0.3", "Phi-3.5-mini"],
)
def test_scope_paper_really_removes_the_published_shares(config, percent):
    linears = linears_of(config)
    total = sum(linear.size for linear in linears)
    for target, actual in percent.items():
        recipe = Recipe("wanda", target / 100, scope="paper")
        zeros = sum(
            planned_zeros(linear.out_features, linear.in_features, recipe)
            for linear in linears
            if recipe.prunes(linear.projection)
        )
        assert round(100 * zeros / total, 2) == pytest.approx(actual, abs=0.0101)
        if config is GEMMA and target == 50:
            assert zeros == 2_774_532_096
