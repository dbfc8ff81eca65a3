"""Layers that are trained while every zero of their weights stays a zero.

The forward pass already computes with what will be saved: an update that is only masked when it is merged has
learned with weights that then go away.
"""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.tuner.lora import LoRALinear, LoRASwitchLinear

from mlx_prune.checkpoint.matrices import is_stack, prunable_linears, unpacked_shape
from mlx_prune.kernels.zeroing import count_zeros, is_zero
from mlx_prune.recovery.settings import Recovery

# Of mlx-lm's layers, which multiply their update by it. Twice the rank is usual in the field as "alpha".
SCALE = 2.0


class MaskedLoRALinear(LoRALinear):
    """mlx-lm's low-rank layer, its update added where the weight is not zero."""

    def __call__(self, x: mx.array) -> mx.array:
        """The layer's output, [..., out], of inputs [..., in]."""
        out: mx.array = _with_weight(self.linear, merged(self))(x)
        return out


class MaskedLoRASwitchLinear(LoRASwitchLinear):
    """The same for a stack of experts."""

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        """As the stack is called."""
        out: mx.array = _with_weight(self.linear, merged(self))(x, *args, **kwargs)
        return out


class FullLinear(nn.Module):
    """A linear layer, or a stack of experts, whose own weights are trained, in float32; zeros stay."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.weight = linear.weight.astype(mx.float32)

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        """As the layer is called."""
        out: mx.array = _with_weight(self.linear, merged(self))(x, *args, **kwargs)
        return out


def merged(layer: nn.Module) -> mx.array:
    """The weight of a layer with what it has learned, in the type that it computes in.

    Args:
        layer: One of those that :func:`adapt` puts in place.

    Returns:
        [out, in], or [experts, out, in]; zero wherever the layer's own weight is.
    """
    weight: mx.array = layer.linear.weight
    if isinstance(layer, FullLinear):
        return mx.where(weight == 0, 0, layer.weight).astype(weight.dtype)
    if isinstance(layer, LoRASwitchLinear):
        update = layer.scale * (layer.lora_b @ layer.lora_a)
    else:
        update = layer.scale * (layer.lora_b.T @ layer.lora_a.T)
    return mx.array(weight + mx.where(weight == 0, 0, update)).astype(weight.dtype)


def adapt(network: nn.Module, settings: Recovery, *, beside: bool = False) -> dict[str, nn.Module]:
    """Freeze a network and put layers that can be trained in the place of its prunable matrices.

    Layers without a zero become mlx-lm's own, which multiply by their factors one after the other.

    Args:
        network: Its weights are in memory. It is changed.
        settings: Rank, seed, and whether the weights themselves are trained.
        beside: The updates are to stay beside the weights, which may be quantized: all are mlx-lm's own.

    Returns:
        The new layers by their path in the network.
    """
    layers = {linear.layer: linear.module for linear in prunable_linears(network, quantized=beside)}
    network.freeze()
    keys = mx.random.split(mx.random.key(settings.seed), len(layers))
    found = {
        name: _trainable(module, settings, key, beside)
        for (name, module), key in zip(layers.items(), keys, strict=True)
    }
    network.update_modules(tree_unflatten(list(found.items())))
    return found


def _trainable(module: nn.Module, settings: Recovery, key: mx.array, beside: bool) -> nn.Module:
    if settings.full:
        layer: nn.Module = FullLinear(module)
    else:
        rows, columns = unpacked_shape(module)[-2:]
        experts = (module.num_experts,) if is_stack(module) else ()
        masked = not beside and count_zeros(module.weight) > 0
        kind = {
            (False, False): LoRALinear,
            (False, True): MaskedLoRALinear,
            (True, False): LoRASwitchLinear,
            (True, True): MaskedLoRASwitchLinear,
        }[bool(experts), masked]
        layer = kind(columns, rows, *experts, r=settings.rank, scale=SCALE)
        layer.linear = module
        # As mlx-lm draws it, but from a key of its own.
        bound = columns**-0.5
        layer.lora_a = mx.random.uniform(-bound, bound, layer.lora_a.shape, key=key)
    layer.linear.freeze()
    return layer


def with_zeros_of(original: mx.array, weight: mx.array) -> mx.array:
    """A trained matrix in the type of the one it comes from, with exactly its zeros, and their signs.

    A kept weight that would round to zero stays what it was: the zeros are neither fewer nor more.

    Args:
        original: [out, in] as stored.
        weight: [out, in] after training.
    """
    new = weight.astype(original.dtype)
    return mx.where(is_zero(original) | is_zero(new), original, new)


def _with_weight(layer: nn.Module, weight: mx.array) -> nn.Module:
    """The same layer with another weight, for one call."""
    twin = copy.copy(layer)
    twin.weight = weight
    return twin
