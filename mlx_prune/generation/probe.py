"""Find out whether a model gives the same logits when prompts share caches, by trying it."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.generation.head import logits_at
from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.plain import prefill
from mlx_prune.generation.rows import row_caches

# Largest difference of a logit, relative to the spread of the logits: rounding stays far below.
TOLERANCE = {mx.float32: 1e-3}
TOLERANCE_HALF = 0.1
_SO = ", so items are answered one by one."


def sharing_fault(model: nn.Module, backbone: nn.Module | None, prompts: Sequence[Prompt]) -> str:
    """Compare shared with plain computation on the shortest and the longest prompt.

    Both prompts are fed whole and by the path of the batched engine: the first half as one stretch, two rows
    of the rest padded to one length, and one more token after a copy of the rows.

    Returns:
        Why prompts cannot share caches, as a sentence; empty if they can.
    """
    stock = make_prompt_cache(model)
    if row_caches(stock) is None:
        kinds = ", ".join(sorted({type(cache).__name__ for cache in stock}))
        return f"The model keeps its state in {kinds}, which prompts cannot share{_SO}"
    ordered = sorted(prompts, key=lambda prompt: len(prompt.tokens))
    for prompt in {ordered[0].item_id: ordered[0], ordered[-1].item_id: ordered[-1]}.values():
        # Models that reckon with the cache in ways of their own may raise here; that is an answer too.
        try:
            difference = _difference(model, backbone, prompt.tokens)
        except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            return f"The model cannot run on shared caches ({type(error).__name__}){_SO}"
        if difference:
            return f"The model's logits change by {difference:.1%} on shared caches{_SO}"
    return ""


def _difference(model: nn.Module, backbone: nn.Module | None, tokens: tuple[int, ...]) -> float:
    """Relative difference of the logits, 0 where it is within the tolerance."""
    expected, cache = prefill(model, tokens)
    follow = mx.argmax(expected, axis=-1, keepdims=True)
    expected_next = model(follow, cache=cache)[:, -1]

    caches = row_caches(make_prompt_cache(model))
    assert caches is not None
    half = len(tokens) // 2
    if half:
        model(mx.array([tokens[:half]]), cache=caches)
        caches = [layer.rows([0, 0], half, 0) for layer in caches]
    rest = tokens[half:]
    padded = mx.array([rest, rest]) if len(rest) < 2 else mx.array([rest, (*rest[:-1], 0)])
    last = mx.array([len(rest) - 1, max(len(rest) - 2, 0)], mx.int32)
    found = logits_at(model, backbone, padded, caches, last)[:1]
    copies = [layer.rows([0, 0, 0], len(tokens), 2) for layer in caches]
    found_next = model(mx.repeat(follow, 3, axis=0), cache=copies)[1:2, -1]
    worst = max(relative_difference(found, expected), relative_difference(found_next, expected_next))
    return worst if worst > TOLERANCE.get(expected.dtype, TOLERANCE_HALF) else 0.0


def relative_difference(found: mx.array, expected: mx.array) -> float:
    """Largest difference of a logit, relative to the spread of those expected."""
    a, b = found.astype(mx.float32), expected.astype(mx.float32)
    spread = mx.maximum(mx.max(mx.abs(b - mx.mean(b))), 1e-6)
    return float(np.array(mx.max(mx.abs(a - b)) / spread))
