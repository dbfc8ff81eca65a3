"""The matrices of a network, and blocks that come and go."""

from __future__ import annotations

from mlx.utils import tree_flatten
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.matrices import blocks, bring_in, in_memory, let_go, prunable_linears
from mlx_prune.checkpoint.open import Checkpoint, load


def test_lists_every_linear_of_the_blocks_and_nothing_else(tmp_path):
    model = load(save_tiny_model(tmp_path / "m", "llama")).model
    linears = prunable_linears(model)
    assert len(blocks(model)) == 3
    assert len(linears) == 21
    assert [linear.block for linear in linears] == sorted(linear.block for linear in linears)
    assert linears[0].name == "model.layers.0.self_attn.q_proj"
    assert linears[0].projection == "self_attn.q_proj"
    assert not any("lm_head" in linear.name or "embed" in linear.name for linear in linears)
    assert (linears[-1].out_features, linears[-1].in_features) == linears[-1].module.weight.shape


def test_a_block_is_in_memory_only_while_it_is_worked_on(tmp_path):
    network = Checkpoint(save_tiny_model(tmp_path / "m", "llama")).network("float32")
    first, second = blocks(network)[:2]
    with in_memory(first):
        assert all(values.size for _, values in tree_flatten(first.parameters()))
    assert not any(values.size for _, values in tree_flatten(first.parameters()))
    bring_in(second)
    assert all(values.size for _, values in tree_flatten(second.parameters()))
    let_go(second)
    assert not any(values.size for _, values in tree_flatten(second.parameters()))
