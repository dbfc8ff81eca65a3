"""A whole mixture whose routers cannot see some of its experts: what a model without these must compute."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.blocks import calls_replaced, own_call
from mlx_prune.pruning.experts.mixtures import Mixture


@contextmanager
def experts_hidden(
    network: nn.Module, mixtures: list[Mixture], removed: Mapping[int, list[int]]
) -> Iterator[None]:
    """While open, some experts' scores are minus infinity in the routers of a network.

    So are their biases, where a bias is added to the scores to choose (DeepSeek-V3).
    """
    modules = dict(network.named_modules())
    with ExitStack() as stack:
        for mixture in mixtures:
            own = [name for name in mixture.parameters if name.rpartition(".")[0] not in mixture.stacks]
            for name in own:
                layer, _, last = name.rpartition(".")
                module, gone = modules[layer], np.zeros(mixture.parameters[name], dtype=bool)
                gone[removed[mixture.block]] = True
                if last.endswith("bias"):
                    module[last] = mx.where(mx.array(gone), -mx.inf, module[last])
                elif last == "weight" and isinstance(module, nn.Linear | nn.QuantizedLinear):
                    stack.enter_context(calls_replaced([module], _hiding(mx.array(gone))))
                elif last == "weight" and not any("bias" in name for name in own):
                    stack.enter_context(calls_replaced([module], _hiding_in_softmax(mx.array(gone))))
        yield


def _hiding(gone: mx.array) -> Any:
    return lambda module, x: mx.where(gone, -mx.inf, own_call(module, x))


def _hiding_in_softmax(gone: mx.array) -> Any:
    """For routers that multiply by a matrix of their own: what they know as ``mx`` has another softmax."""

    def softmax(logits: mx.array, **settings: Any) -> mx.array:
        return mx.softmax(mx.where(gone, -mx.inf, logits), **settings)

    def call(module: nn.Module, x: mx.array) -> Any:
        known = SimpleNamespace(**{name: getattr(mx, name) for name in dir(mx)})
        known.softmax = softmax
        with patch.object(sys.modules[type(module).__mro__[1].__module__], "mx", known):
            return own_call(module, x)

    return call
