"""Logits of whole sequences, a few positions at a time: a large vocabulary's are never all in memory.

The blocks run on whole sequences once; then the head alone runs again and again, each time on a slice of what
they put out. As in :mod:`~mlx_prune.generation.head`, the class of the backbone is swapped, so that nothing
has to be known of an architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from mlx_prune.generation.head import find_backbone
from mlx_prune.generation.probe import TOLERANCE, TOLERANCE_HALF, relative_difference
from mlx_prune.generation.quick import needed, quick_functions
from mlx_prune.generation.whole import whole_forward
from mlx_prune.shares import keep_freed_memory

# Logits in one slice: 64 MB in float32, some four of which are at hand at a time.
_SLICE = 1 << 24
_PROBE_TOKENS = 8
_OWN_WAYS = (ValueError, TypeError, AttributeError, IndexError)


class LogitsOf(Protocol):
    """What gives the logits of whole sequences by slices."""

    @property
    def model(self) -> Any:
        """Whose they are."""
        ...

    def __call__(self, tokens: NDArray[np.int32], /) -> Iterable[tuple[slice, mx.array]]:
        """As :meth:`SlicedLogits.__call__`."""
        ...


class SlicedLogits:
    """A model, asked for the logits of whole sequences by slices."""

    def __init__(self, model: nn.Module) -> None:
        """Find out on a few tokens whether the model's head may run by itself.

        On a Linux CPU freed memory is kept for the arrays to come, also afterwards.

        Args:
            model: An mlx-lm model.
        """
        if needed():
            keep_freed_memory()
        self.model = model
        self._forward = whole_forward(model)
        self._backbone = find_backbone(model)
        tokens = mx.arange(_PROBE_TOKENS)[None]
        whole = self._forward(tokens)
        self.vocabulary = int(whole.shape[-1])
        if self._backbone is not None and not self._same(tokens, whole):
            self._backbone = None

    def _same(self, tokens: mx.array, whole: mx.array) -> bool:
        try:
            parts = [logits for _, logits in self._of_head(tokens, 3)]
        except _OWN_WAYS:
            return False
        found = mx.concatenate(parts)[None]
        if found.shape != whole.shape:
            return False
        return relative_difference(found, whole) <= TOLERANCE.get(whole.dtype, TOLERANCE_HALF)

    def __call__(self, tokens: NDArray[np.int32]) -> Iterator[tuple[slice, mx.array]]:
        """Slices of the positions of some sequences, read one sequence after the other, and their logits.

        Args:
            tokens: (rows, length).

        Yields:
            Which positions of ``rows * length``, and float32 logits (positions, vocabulary).
        """
        positions = max(1, _SLICE // self.vocabulary)
        batch = mx.array(tokens)
        if self._backbone is not None:
            yield from self._of_head(batch, positions)
            return
        # One sequence at a time is the least that the model can do.
        for row in range(len(tokens)):
            with quick_functions():
                logits = self._forward(batch[row : row + 1])[0]
                mx.eval(logits)
            for place in _slices(logits.shape[0], positions):
                shifted = slice(place.start + row * logits.shape[0], place.stop + row * logits.shape[0])
                yield shifted, logits[place].astype(mx.float32)

    def _of_head(self, tokens: mx.array, positions: int) -> Iterator[tuple[slice, mx.array]]:
        held: list[mx.array] = []

        def keep(own: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            held.append(own(*arguments, **options))
            return held[-1][:, :1]

        with quick_functions():
            with _in_place_of(self._backbone, keep):
                self._forward(tokens)  # the head's part is never evaluated
            (hidden,) = held
            flat = hidden.reshape(1, -1, hidden.shape[-1])
            mx.eval(flat)
        for place in _slices(flat.shape[1], positions):
            with quick_functions(), _in_place_of(self._backbone, lambda *_, at=place, **__: flat[:, at]):
                logits = self._forward(tokens[:1, :1])
            yield place, logits[0].astype(mx.float32)


def _slices(length: int, most: int) -> Iterator[slice]:
    for start in range(0, length, most):
        yield slice(start, min(start + most, length))


@contextmanager
def _in_place_of(backbone: nn.Module | None, call: Callable[..., Any]) -> Iterator[None]:
    """While this lasts, calling the backbone calls a function with its own call and the arguments."""
    original: Any = type(backbone)

    class Swapped(original):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return call(super().__call__, *arguments, **options)

    backbone.__class__ = Swapped
    try:
        yield
    finally:
        backbone.__class__ = original
