"""A whole mixture whose routers cannot see some of its experts: what a model without these must compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.blocks import calls_replaced, own_call
from mlx_prune.pruning.experts.mixtures import Mixture


class _Hidden:
    """A router's matrix, transposed, by which tokens are multiplied; some logits are minus infinity."""

    def __init__(self, weight: mx.array, gone: mx.array) -> None:
        self._weight, self._gone = weight, gone
        self.shape, self.dtype = weight.shape, weight.dtype

    @property
    def T(self) -> _Hidden:
        return self

    def astype(self, dtype: mx.Dtype) -> _Hidden:
        return self

    def __rmatmul__(self, x: mx.array) -> mx.array:
        return mx.where(self._gone, -mx.inf, x @ self._weight.T)


@contextmanager
def experts_hidden(
    network: nn.Module, mixtures: list[Mixture], removed: Mapping[int, list[int]]
) -> Iterator[None]:
    """While open, the scores of some experts are minus infinity in the routers of a network.

    Where a bias is added to the scores to choose (DeepSeek-V3), the bias is; else the logits are.
    """
    modules = dict(network.named_modules())
    with ExitStack() as stack:
        for mixture in mixtures:
            routers = {name: name.rpartition(".") for name in mixture.parameters}
            own = {n: p for n, p in routers.items() if p[0] not in mixture.stacks}
            biases = [parts for name, parts in own.items() if "bias" in parts[2] and parts[2] != "biases"]
            for layer, _, last in biases:
                values = np.array(modules[layer][last])
                values[removed[mixture.block]] = -np.inf
                modules[layer][last] = mx.array(values)
            if biases:
                continue
            for name, (layer, _, last) in own.items():
                if last != "weight":
                    continue
                module = modules[layer]
                gone = np.zeros(mixture.parameters[name], dtype=bool)
                gone[removed[mixture.block]] = True
                if isinstance(module, nn.Linear | nn.QuantizedLinear):
                    stack.enter_context(calls_replaced([module], _hiding(mx.array(gone))))
                else:
                    weight = module.pop("weight")
                    object.__setattr__(module, "weight", _Hidden(weight, mx.array(gone)))
        yield


def _hiding(gone: mx.array) -> Any:
    return lambda module, x: mx.where(gone, -mx.inf, own_call(module, x))
