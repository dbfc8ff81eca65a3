"""What a model costs: parameters, bytes on disk, arithmetic per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_prune.checkpoint.config import experts_per_token
from mlx_prune.checkpoint.dimensions import heads_of
from mlx_prune.checkpoint.matrices import block_modules, blocks, weight_matrix, weights_of
from mlx_prune.checkpoint.shards import Shards
from mlx_prune.errors import RecipeError

CONTEXT = 512  # tokens that the attention of one new token looks at


@dataclass(frozen=True)
class Costs:
    """What a model costs.

    Attributes:
        parameters: Of the network, tied ones once.
        bytes: Of its weight files.
        flops_per_token: See :func:`flops_per_token`.
    """

    parameters: int
    bytes: int
    flops_per_token: int


def costs_of(network: nn.Module, config: dict[str, Any], shards: Shards) -> Costs:
    """Count what a network holds; its weights are not evaluated."""
    return Costs(
        sum(values.size for values in weights_of(network).values()),
        shards.nbytes,
        flops_per_token(network, config),
    )


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
