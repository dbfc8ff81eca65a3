"""Quantized layers on a CPU, computed with the values that their bits stand for.

MLX multiplies by quantized matrices on a CPU some twenty times slower than by the same matrices in float32. A
product of a matrix's values is what a quantized product means, so that only its rounding changes. Times are
never measured so: they are those of the model as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from mlx_prune.environment import backend
from mlx_prune.generation.memory import free_memory
from mlx_prune.shares import memory_sharers

# Activations, caches and other processes need the rest.
_SHARE_OF_FREE = 0.5


@contextmanager
def dequantized(model: nn.Module) -> Iterator[bool]:
    """While this lasts, the quantized layers of a model on a CPU are plain layers of the same values.

    Args:
        model: An mlx-lm model; its own layers are back afterwards.

    Yields:
        Whether there were such layers, and memory to write them out; elsewhere than on a CPU never.
    """
    layers = _quantized(model)
    if backend() != "cpu" or not layers or not _fits(layers):
        yield False
        return
    from mlx_lm.utils import dequantize_model

    dequantize_model(model)
    try:
        yield True
    finally:
        model.update_modules(tree_unflatten(layers))


def _quantized(model: nn.Module) -> list[tuple[str, Any]]:
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear

    kinds = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]


def _fits(layers: list[tuple[str, Any]]) -> bool:
    needed = sum(layer.weight.size * (32 // layer.bits) * _width(layer) for _, layer in layers)
    return bool(needed <= _SHARE_OF_FREE * free_memory() / memory_sharers())


def _width(layer: Any) -> int:
    """Bytes of one value; the modes without offsets keep scales in a byte, and give bfloat16."""
    scales: mx.array = layer.scales
    return scales.dtype.size if mx.issubdtype(scales.dtype, mx.floating) else 2
