"""The forward pass over whole sequences, with a cache for the models that compute something else without.

Blocks that share keys and values find them in the cache alone in some of mlx-lm's models (gemma3n,
ml-explore/mlx-lm#1674): without one their logits are others than those they generate from.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.generation.probe import TOLERANCE, TOLERANCE_HALF, relative_difference

_PROBE_TOKENS = 8


class WithCache:
    """A model that is handed a new cache at every call."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __call__(self, tokens: mx.array) -> mx.array:
        """Logits [batch, length, vocabulary] of tokens [batch, length]."""
        logits: mx.array = self._model(tokens, cache=make_prompt_cache(self._model))
        return logits

    def parameters(self) -> Any:
        """The model's."""
        return self._model.parameters()


def whole_forward(model: nn.Module) -> Any:
    """The model, or the model with a cache where its logits change without one, found out on a few tokens."""
    return WithCache(model) if cache_matters(model) else model


def cache_matters(model: nn.Module) -> bool:
    """Whether a model's logits change without a cache, beyond the rounding of its type."""
    tokens = mx.arange(_PROBE_TOKENS)[None]
    expected = WithCache(model)(tokens)
    # Models that cannot do without may raise; that is an answer, too.
    try:
        found = model(tokens)
        difference = relative_difference(found, expected)
    except (ValueError, TypeError, AttributeError, IndexError):
        return True
    return difference > TOLERANCE.get(expected.dtype, TOLERANCE_HALF)
