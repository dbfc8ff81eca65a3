"""Run a model's vocabulary head only where a token is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn


def find_backbone(model: nn.Module) -> nn.Module | None:
    """The part of a model in front of its head: the module that holds the list of blocks, or None."""
    blocks = getattr(model, "layers", None)
    if blocks is None:
        return None
    for _, module in model.named_modules():
        if module is not model and any(value is blocks for value in module.values()):
            return module
    return None


@contextmanager
def head_only_at(backbone: nn.Module | None, positions: mx.array) -> Iterator[None]:
    """While this lasts, the backbone returns chosen positions.

    The class of the backbone is swapped, not the backbone: its parameters, and everything that refers to it
    (tied embeddings), stay where they are.

    Args:
        backbone: See :func:`find_backbone`; None changes nothing.
        positions: (rows,) index of the position to keep, or several (rows, kept).
    """
    if backbone is None:
        yield
        return
    original = type(backbone)
    chosen = positions[:, None] if positions.ndim == 1 else positions

    class Chosen(original):  # type: ignore[misc, valid-type]
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            hidden = super().__call__(*arguments, **options)
            if isinstance(hidden, mx.array) and hidden.ndim == 3:
                return mx.take_along_axis(hidden, chosen[..., None], axis=1)
            return hidden

    backbone.__class__ = Chosen
    try:
        yield
    finally:
        backbone.__class__ = original


def logits_at(
    model: nn.Module, backbone: nn.Module | None, tokens: mx.array, cache: Any, last: mx.array
) -> mx.array:
    """Logits of chosen positions.

    Args:
        model: An mlx-lm model.
        backbone: See :func:`find_backbone`.
        tokens: (rows, length) token ids.
        cache: The model's caches.
        last: (rows,) index of the position wanted, or several of a single row (1, wanted).

    Returns:
        (rows or wanted, vocabulary).
    """
    with head_only_at(backbone, last):
        logits = model(tokens, cache=cache)
    chosen = last[:, None] if last.ndim == 1 else last
    if backbone is None or logits.shape[1] != chosen.shape[1]:
        logits = mx.take_along_axis(logits, chosen[..., None], axis=1)
    drawn: mx.array = logits.reshape(-1, logits.shape[-1])
    return drawn
