"""What a model costs: parameters, bytes on disk, arithmetic per token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_prune.checkpoint.config import experts_per_token
from mlx_prune.checkpoint.dimensions import heads_of
from mlx_prune.checkpoint.open import PrunableLinear, block_modules, blocks, weight_matrix
from mlx_prune.checkpoint.shards import Shards
from mlx_prune.errors import RecipeError

CONTEXT = 512  # tokens that the attention of one new token looks at


def measure(network: nn.Module, linears: Sequence[PrunableLinear], config: dict[str, Any]) -> dict[str, int]:
    """Count what a network holds; its weights are not evaluated.

    Returns:
        "prunable" (weights of the linears), "parameters" (all, tied ones once) and "flops_per_token".
    """
    return {
        "prunable": sum(linear.size for linear in linears),
        "parameters": sum(values.size for _, values in tree_flatten(network.parameters())),
        "flops_per_token": flops_per_token(network, config),
    }


def weight_bytes(shards: Shards) -> int:
    """Bytes of a folder's weight files."""
    return sum(file.stat().st_size for file in shards.files)


def flops_per_token(network: nn.Module, config: dict[str, Any]) -> int:
    """Floating-point operations of one new token after a context of :data:`CONTEXT` tokens.

    Two per weight of every matrix that multiplies activations (the blocks' linear layers, of experts as many
    as a token is routed to, and the output head, tied or not), and four per query feature and token of the
    context for attention. Norms, activations and softmax are left out.
    """
    total = 0
    for _, _, _, module in block_modules(network):
        weight = weight_matrix(module)
        if weight is not None:
            total += 2 * (weight.size if weight.ndim == 2 else _active(weight, config))
    tables = [module.weight.size for _, module in network.named_modules() if isinstance(module, nn.Embedding)]
    total += 2 * max(tables, default=0)
    try:
        queries, _, size = heads_of(config)
    except RecipeError:  # attention of another kind: its linear layers are counted, its scores are not
        return total
    return total + 4 * CONTEXT * queries * size * len(blocks(network))


def _active(weight: mx.array, config: dict[str, Any]) -> int:
    """Weights of a stack of experts that one token meets."""
    experts = weight.shape[0]
    return int(weight.size // experts * min(experts_per_token(config) or experts, experts))
