"""One prompt at a time for models whose cache cannot be shared: still one prefill for all seeds."""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.generation.draws import Drawing, Draws
from mlx_prune.generation.interface import Prompt, PromptAnswers
from mlx_prune.generation.sampling import log_probabilities

# As mlx_lm.generate_step splits a long prompt.
_PREFILL_STEP = 2048


def prefill(model: nn.Module, tokens: tuple[int, ...]) -> tuple[mx.array, list[Any]]:
    """Feed a prompt to a model as ``mlx_lm.generate_step`` does, with the model's own caches.

    Returns:
        (1, vocabulary) logits after the last token, and the caches.
    """
    cache = make_prompt_cache(model)
    for start in range(0, len(tokens) - 1, _PREFILL_STEP):
        model(mx.array([tokens[start : min(start + _PREFILL_STEP, len(tokens) - 1)]]), cache=cache)
        mx.eval([layer.state for layer in cache])
    return model(mx.array([tokens[-1:]]), cache=cache)[:, -1], cache


def decode(model: nn.Module, prompt: Prompt, drawing: Drawing) -> PromptAnswers:
    """Draw all answers to one prompt, each continuation on its own copy of the caches."""
    logits, cache = prefill(model, prompt.tokens)
    draws = Draws([prompt], drawing, log_probabilities(logits))
    caches = [cache]
    while rows := draws.rows:
        # Copies of caches that share their arrays until one of them writes.
        caches = [copy.deepcopy(caches[parent]) for parent, _ in rows]
        logits = mx.concatenate(
            [
                model(mx.array([[token]]), cache=own)[:, -1]
                for own, (_, token) in zip(caches, rows, strict=True)
            ]
        )
        draws.advance(log_probabilities(logits))
    return next(draws.finished())
