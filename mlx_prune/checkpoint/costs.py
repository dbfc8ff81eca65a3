"""What a model costs: parameters, arithmetic per token, and bytes on disk, as it is and packed.

The compressed size shows what zeros could save in storage or transfer if a file were packed; nothing runs
from it. From tensors without their zeros Core ML runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.nn as nn

from mlx_prune.checkpoint.config import experts_per_token
from mlx_prune.checkpoint.dimensions import heads_of
from mlx_prune.checkpoint.matrices import (
    block_modules,
    blocks,
    unpacked_shape,
    weight_matrix,
    weights_of,
)
from mlx_prune.checkpoint.shards import Shards
from mlx_prune.dtypes import FLOATS
from mlx_prune.errors import RecipeError

CONTEXT = 512  # tokens that the attention of one new token looks at
_CHUNK = 8 << 20


@dataclass(frozen=True)
class Costs:
    """What a model costs.

    Attributes:
        parameters: Of the network, tied ones once; of quantized layers the weights that are packed.
        bytes: Of its weight files.
        flops_per_token: See :func:`flops_per_token`.
    """

    parameters: int
    bytes: int
    flops_per_token: int


def costs_of(network: nn.Module, config: dict[str, Any], shards: Shards) -> Costs:
    """Count what a network holds; its weights are not evaluated."""
    return Costs(
        _parameters(network),
        shards.nbytes,
        flops_per_token(network, config),
    )


def _parameters(network: nn.Module) -> int:
    total = sum(values.size for values in weights_of(network).values())
    for _, module in network.named_modules():
        if "scales" in module:
            stored = sum(module[name].size for name in ("weight", "scales", "biases") if name in module)
            total += module.weight.size * 32 // module.bits - stored
    return total


def flops_per_token(network: nn.Module, config: dict[str, Any]) -> int:
    """Floating-point operations of one new token after a context of :data:`CONTEXT` tokens.

    Two per weight of every matrix that multiplies activations (the blocks' linear layers, of experts as many
    as a token is routed to, and the output head, tied or not), however few bits they are packed in, and four
    per query feature and token of the context for attention. Norms, activations and softmax are left out.
    """
    total = 0
    for _, _, _, module in block_modules(network):
        if weight_matrix(module) is not None:
            total += 2 * _met(unpacked_shape(module), config)
    tables = [
        math.prod(unpacked_shape(module))
        for _, module in network.named_modules()
        if isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
    ]
    total += 2 * max(tables, default=0)
    try:
        queries, _, size = heads_of(config)
    except RecipeError:  # attention of another kind: its linear layers are counted, its scores are not
        return total
    return total + 4 * CONTEXT * queries * size * len(blocks(network))


def _met(shape: tuple[int, ...], config: dict[str, Any]) -> int:
    """Weights of a matrix, or of a stack of experts' matrices, that one token meets."""
    if len(shape) == 2:
        return math.prod(shape)
    experts, *matrix = shape
    return math.prod(matrix) * min(experts_per_token(config) or experts, experts)


def zstd_bytes(
    files: Sequence[Path], *, level: int = 3, progress: Callable[[int], None] | None = None
) -> int:
    """Bytes of the files under zstd, compressed piece by piece so that a large file never fills the memory.

    Args:
        files: What to compress; nothing is written.
        level: Compression level; 3 is the ``zstd`` tool's own default.
        progress: Called with the bytes read so far.

    Returns:
        Sum of the sizes of independent frames of 8 MiB each.
    """
    import pyarrow as pa

    codec = pa.Codec("zstd", compression_level=level)
    packed = done = 0
    for file in files:
        with open(file, "rb") as source:
            while piece := source.read(_CHUNK):
                packed += len(codec.compress(piece))
                done += len(piece)
                if progress is not None:
                    progress(done)
    return packed


def bitmask_bytes(shards: Shards, *, progress: Callable[[int], None] | None = None) -> int:
    """Bytes of the files if every tensor that gains by it were stored without its zeros.

    A sparse tensor takes one bit per weight, which says whether it is zero, and the other weights as they
    are: the encoding of Core ML's ``constexpr_sparse_to_dense``. Of 16-bit weights it pays from one zero in
    16 on, and halves of zeros make 1.78 times less. Reckoned from counts; nothing is written.

    Args:
        shards: The checkpoint.
        progress: Called with the bytes of tensors read so far.

    Returns:
        The size, which is that of the files where no tensor has zeros enough.

    Raises:
        CheckpointError: A file has become shorter since its header was read.
    """
    total = shards.nbytes
    done = 0
    for info in shards.tensors.values():
        if info.dtype in FLOATS:
            weights, zeros = shards.count_zeros(info.name)
            width = info.nbytes // max(weights, 1)
            total -= max(0, info.nbytes - (-(-weights // 8) + (weights - zeros) * width))
        done += info.nbytes
        if progress is not None:
            progress(done)
    return total
