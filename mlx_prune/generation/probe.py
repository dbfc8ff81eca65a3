"""Find out whether a model gives the same logits when prompts share caches, by trying it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.environment import backend
from mlx_prune.generation.forest import plant
from mlx_prune.generation.head import logits_at
from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.packing import PackedBatch
from mlx_prune.generation.plain import prefill
from mlx_prune.generation.rows import Part, joined, row_caches

# Largest difference of a logit, relative to the spread of the logits: rounding stays far below.
TOLERANCE = {mx.float32: 1e-3}
TOLERANCE_HALF = 0.1
# Tokens of a prompt that stands for short ones.
_FEW = 16
# On a GPU attention is one kernel, which the parts of a packed one are not.
PACKED = {"cpu": True, "metal": False, "cuda": False}
_SO = ", so items are answered one by one."
_OWN_WAYS = (ValueError, TypeError, AttributeError, IndexError, KeyError)


@dataclass(frozen=True)
class Found:
    """How prompts may share a model's caches.

    Attributes:
        fault: Why they cannot, as a sentence; empty if they can.
        packed: Whether the tokens of many prompts can be one sequence; the rest is only found out if not.
        ragged: Whether rows of different lengths can be decoded together.
        mask_axes: Axes of the masks that differ between rows, as the model takes them.
    """

    fault: str = ""
    packed: bool = False
    ragged: bool = False
    mask_axes: int = 4


def try_out(model: nn.Module, backbone: nn.Module | None, prompts: Sequence[Prompt]) -> Found:
    """Compare shared with plain computation on a short and on the longest prompt.

    Both prompts are fed whole and by the paths of the batched engine: in a packed forward, and, where that
    differs, the first half as one stretch, two rows of the rest padded to one length, and one more token
    after a copy of the rows.
    """
    stock = make_prompt_cache(model)
    if row_caches(stock) is None:
        kinds = ", ".join(sorted({type(cache).__name__ for cache in stock}))
        return Found(f"The model keeps its state in {kinds}, which prompts cannot share{_SO}")
    longest = max((prompt.tokens for prompt in prompts), key=len)
    tried = sorted({longest[:_FEW], longest}, key=len)
    # Models that reckon with the cache in ways of their own may raise here; that is an answer too.
    if PACKED[backend()]:
        try:
            if not max(_packed_difference(model, backbone, tokens) for tokens in tried):
                return Found(packed=True)
        except _OWN_WAYS:
            pass
    try:
        differences = [_shared_difference(model, backbone, tokens) for tokens in tried]
    except _OWN_WAYS as error:
        return Found(f"The model cannot run on shared caches ({type(error).__name__}){_SO}")
    if max(differences):
        return Found(f"The model's logits change by {max(differences):.1%} on shared caches{_SO}")
    for mask_axes in (4, 5):
        try:
            if not max(_ragged_difference(model, tokens, mask_axes) for tokens in tried):
                return Found(ragged=True, mask_axes=mask_axes)
        except _OWN_WAYS:
            continue
    return Found()


def _shared_difference(model: nn.Module, backbone: nn.Module | None, tokens: tuple[int, ...]) -> float:
    """Relative difference of the logits, 0 where it is within the tolerance."""
    expected, cache = prefill(model, tokens)
    follow = mx.argmax(expected, axis=-1, keepdims=True)
    expected_next = model(follow, cache=cache)[:, -1]

    caches = row_caches(make_prompt_cache(model))
    assert caches is not None
    half = len(tokens) // 2
    if half:
        model(mx.array([tokens[:half]]), cache=caches)
        caches = [layer.rows([0, 0], 0) for layer in caches]
    rest = tokens[half:]
    padded = mx.array([rest, rest]) if len(rest) < 2 else mx.array([rest, (*rest[:-1], 0)])
    last = mx.array([len(rest) - 1, max(len(rest) - 2, 0)], mx.int32)
    found = logits_at(model, backbone, padded, caches, last)[:1]
    copies = joined([Part(caches, [0, 0, 0], [len(tokens)] * 3)], 2)
    found_next = model(mx.repeat(follow, 3, axis=0), cache=copies)[1:2, -1]
    worst = max(relative_difference(found, expected), relative_difference(found_next, expected_next))
    return _beyond(worst, expected.dtype)


def _ragged_difference(model: nn.Module, tokens: tuple[int, ...], mask_axes: int) -> float:
    """The same of two tokens after rows of eight lengths, more rows than attention has groups of heads."""
    lengths = [max(1, len(tokens) - short) for short in (0, 3, 1, 7, 2, 5, 0, 4, 6)]
    caches = row_caches(make_prompt_cache(model), mask_axes)
    assert caches is not None
    model(mx.array([tokens]), cache=caches)
    rows = joined([Part(caches, [0] * len(lengths), lengths)], 2)
    worst = 0.0
    expected = [prefill(model, tokens[:length]) for length in lengths[:4]]
    follow = mx.array([[tokens[0]]])
    for _ in range(2):
        found = model(mx.repeat(follow, len(lengths), axis=0), cache=rows)[:, -1]
        for row, (_, cache) in enumerate(expected):
            wanted = model(follow, cache=cache)[:, -1]
            worst = max(worst, relative_difference(found[row : row + 1], wanted))
    return _beyond(worst, wanted.dtype)


def _packed_difference(model: nn.Module, backbone: nn.Module | None, tokens: tuple[int, ...]) -> float:
    """The same of a forest whose prompts part early and late, and of two tokens after each of them."""
    parted = [tokens]
    for kept in (len(tokens) - 1, len(tokens) // 2, max(len(tokens) // 2 - 2, 1)):
        parted.append((*tokens[:kept], *tokens[-1:-3:-1]))
    forest = plant([Prompt(str(number), prompt) for number, prompt in enumerate(parted)], len(parted))
    batch = PackedBatch(model, backbone)
    batch.root(forest.root)
    batch.start()
    trees = forest.batches[0]
    prompts = [prompt for tree in trees for prompt in tree.prompts]
    found = batch.prefill([trees])
    follow = tokens[:1]
    expected = [_own_logits(model, prompt.tokens, follow * 2, prompt is prompts[0]) for prompt in prompts]
    worst = max(relative_difference(found[row], logits[0]) for row, logits in enumerate(expected))
    # The second prompt has two answers at first, then one.
    for step, parents in enumerate(([0, 1, 1, 2, 3], [0, 2, 3, 4]), 1):
        found = batch.step([(parent, follow[0]) for parent in parents])
        rows = (0, 1, 3, 4) if len(parents) == 5 else (0, 1, 2, 3)
        for row, logits in zip(rows, expected, strict=True):
            worst = max(worst, relative_difference(found[row], logits[step]))
    return _beyond(worst, found.dtype)


def _own_logits(
    model: nn.Module, tokens: tuple[int, ...], follow: tuple[int, ...], by_steps: bool
) -> list[mx.array]:
    """A model's own logits after a prompt and after each further token, in one forward or token by token."""
    if not by_steps:
        logits = model(mx.array([(*tokens, *follow)]), cache=make_prompt_cache(model))[0]
        return list(logits[-len(follow) - 1 :])
    last, cache = prefill(model, tokens)
    return [last[0], *(model(mx.array([[token]]), cache=cache)[0, -1] for token in follow)]


def _beyond(worst: float, dtype: mx.Dtype) -> float:
    return worst if worst > TOLERANCE.get(dtype, TOLERANCE_HALF) else 0.0


def relative_difference(found: mx.array, expected: mx.array) -> float:
    """Largest difference of a logit, relative to the spread of those expected."""
    a, b = found.astype(mx.float32), expected.astype(mx.float32)
    spread = mx.maximum(mx.max(mx.abs(b - mx.mean(b))), 1e-6)
    return float(np.array(mx.max(mx.abs(a - b)) / spread))
