"""Blocks of tiny models run by hand: what their linears receive, and what they return."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.checkpoint.open import LoadedModel


def block_inputs(
    block: nn.Module, linears: list[PrunableLinear], hidden: list[mx.array]
) -> tuple[dict[str, np.ndarray], list[mx.array]]:
    """Run one block on each batch with its linears recorded: float64 inputs by name, and outputs."""
    seen: dict[str, list[np.ndarray]] = {linear.name: [] for linear in linears}

    class Recording(nn.Linear):  # type: ignore[misc]
        def __call__(self, x: mx.array) -> Any:
            seen[names[id(self)]].append(
                np.array(x.astype(mx.float32), dtype=np.float64).reshape(-1, x.shape[-1])
            )
            return super().__call__(x)

    names = {id(linear.module): linear.name for linear in linears}
    for linear in linears:
        linear.module.__class__ = Recording
    outputs = [block(h, causal_mask(h.shape[1]), None) for h in hidden]
    mx.eval(outputs)
    for linear in linears:
        linear.module.__class__ = nn.Linear
    return {name: np.concatenate(parts) for name, parts in seen.items()}, outputs


def causal_mask(length: int) -> mx.array:
    """[length, length] booleans, true where a position may look."""
    return mx.tril(mx.ones((length, length))).astype(mx.bool_)


def first_hidden(model: LoadedModel, tokens: np.ndarray) -> list[mx.array]:
    """What enters the first block, all samples in one batch."""
    scale = model.config["hidden_size"] ** 0.5 if model.config["model_type"] == "gemma2" else 1
    return [model.model.model.embed_tokens(mx.array(tokens)) * scale]
