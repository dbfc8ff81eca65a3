"""Tokens of many prompts in one row, without padding and without copies of what they share.

A forward gets its tokens as one sequence. All that a block computes token by token it does as ever; only
attention and rotary positions know which tokens belong together. :mod:`~mlx_prune.generation.attending`
replaces ``mx.fast.scaled_dot_product_attention``, and positions by token ``mx.fast.rope``, for the time of a
forward; whether a model reckons so is for :mod:`probe` to find out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_prune.generation.attending import Floats, Kept, attend, hidden
from mlx_prune.generation.quick import quick_functions
from mlx_prune.generation.rotary import Rotary

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Piece:
    """Tokens of a forward, and the keys that they look at.

    Attributes:
        tokens: Where they lie among those of their group.
        forward: Which forward of trees computed the keys.
        keys: The stretches of it where those lie.
    """

    tokens: slice
    forward: int
    keys: Sequence[slice]


@dataclass
class Group:
    """Tokens of a forward that are attended together.

    Attributes:
        tokens: Where they lie in the forward.
        pieces: Of all tokens, in order.
        seen: (tokens, keys) what each token sees of the root and then of its piece's keys.
        positions: (tokens,) in their prompts.
        key_positions: (tokens, keys) those of the keys.
    """

    tokens: slice
    pieces: Sequence[Piece]
    seen: NDArray[np.bool_]
    positions: Index
    key_positions: Index
    _added: dict[int | None, Floats | None] = field(default_factory=dict)

    def added(self, window: int | None) -> Floats | None:
        """What is added to scores, first keys that all see left out, in a window of so many or none."""
        if window not in self._added:
            seen = self.seen
            if window is not None:
                seen = seen & (self.positions[:, None] < self.key_positions + window)
            by_some = np.flatnonzero(~seen.all(axis=0))
            self._added[window] = hidden(seen[:, by_some[0] :]) if by_some.size else None
        return self._added[window]


@dataclass
class Layout:
    """How the tokens of one forward belong together.

    Attributes:
        positions: (tokens,) in their prompts.
        groups: Of all tokens.
        new: Whether the tokens are keys of trees; otherwise they are those of answers.
    """

    positions: Index
    groups: Sequence[Group]
    new: bool
    cache: PackedCache | None = None

    @cached_property
    def offset(self) -> mx.array:
        """Positions as an array of MLX."""
        return mx.array(self.positions.astype(np.int32))


@dataclass(frozen=True)
class Mask:
    """Stands for the mask of a packed forward: which layout, and the layer's window."""

    layout: Layout
    window: int | None


@dataclass
class PackedCache:
    """Keys and values of one layer: of the root, of forwards of trees, and of the answers' tokens.

    Attributes:
        window: Length of the layer's sliding window, or None.
        layout: Of the forward to come.
        root: Of the root (tokens, heads, size).
        forwards: Those of each forward of trees (tokens, heads, size).
        tail: Those of each row of the decode (rows, tokens, heads, size).
    """

    window: int | None = None
    layout: Layout | None = None
    root: Kept | None = None
    forwards: list[Kept] = field(default_factory=list)
    tail: Kept | None = None
    _new: tuple[mx.array, ...] = ()

    @property
    def offset(self) -> mx.array:
        """Positions of the new tokens (tokens,)."""
        assert self.layout is not None
        return self.layout.offset

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """What the model hands on to attention."""
        del N, return_array  # the layout knows
        assert self.layout is not None
        return Mask(self.layout, window_size or self.window)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Take keys and values (1, heads, tokens, size), to be kept when attention computes them."""
        assert self.layout is not None
        self.layout.cache = self
        self._new = keys, values
        return keys, values

    def keep(self) -> None:
        """Keep what was taken where the layout wants it."""
        assert self.layout is not None
        keys, values = (_by_token(array) for array in self._new)
        self._new = ()
        if self.layout.new:
            self.forwards.append(Kept(keys, values))
        elif self.tail is None:
            self.tail = Kept(keys[:, None], values[:, None])
        else:
            self.tail = Kept(
                np.concatenate([self.tail.keys, keys[:, None]], axis=1),
                np.concatenate([self.tail.values, values[:, None]], axis=1),
            )

    def rows(self, chosen: Index) -> None:
        """Continue rows of the decode, some of them more than once or not at all."""
        assert self.tail is not None
        self.tail = self.tail[chosen]


def _by_token(array: mx.array) -> Floats:
    """(1, heads, tokens, size) as (tokens, heads, size), without a copy of what is float32."""
    rows: Floats = np.asarray(array.astype(mx.float32))[0].transpose(1, 0, 2)
    return rows


def packed_attention(queries: mx.array, scale: float, mask: Mask) -> mx.array:
    """Attention of a packed forward to all that its tokens see.

    Args:
        queries: (1, heads, tokens, size).
        scale: Of the scores.
        mask: As the cache made it.

    Returns:
        (1, heads, tokens, size of values).
    """
    layout, window = mask.layout, mask.window
    cache = layout.cache
    assert cache is not None
    layout.cache = None  # a layer that does not bring its own keys must not find another's
    mx.eval(queries, *cache._new)
    cache.keep()
    rows = _by_token(queries)
    found = np.empty((*rows.shape[:2], cache.forwards[-1].values.shape[-1]), np.float32)
    recent = slice(-(window or 0), None)
    for group in layout.groups:
        mine = group.tokens
        pieces = [
            (piece.tokens, [cache.forwards[piece.forward][keys] for keys in piece.keys])
            for piece in group.pieces
        ]
        own = None if cache.tail is None or layout.new else cache.tail[mine, recent]
        attend(rows[mine], scale, cache.root, pieces, own, group.added(window), found[mine])
    return mx.array(found).transpose(1, 0, 2)[None]


@contextmanager
def packed_forward() -> Iterator[None]:
    """While this lasts, mlx-lm's models run on :class:`PackedCache`, with quick exponentials.

    Raises:
        ValueError: In the model's call, if its attention is of another kind.
    """
    with quick_functions():
        own_attention, own_rope = mx.fast.scaled_dot_product_attention, mx.fast.rope

        def by_parts(
            q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **more: Any
        ) -> Any:
            if not isinstance(mask, Mask):
                return own_attention(q, k, v, scale=scale, mask=mask, **more)
            if any(value is not None for value in more.values()):
                raise ValueError(f"attention with {', '.join(more)}")
            return packed_attention(q, scale, mask).astype(q.dtype)

        rotary = Rotary(own_rope)

        def by_token(a: mx.array, dims: int, *, offset: Any, **more: Any) -> mx.array:
            packed = isinstance(offset, mx.array) and offset.ndim == 1 and a.shape[0] == 1 != offset.size
            rope = rotary if packed else own_rope
            turned: mx.array = rope(a, dims, offset=offset, **more)
            return turned

        mx.fast.scaled_dot_product_attention = by_parts
        mx.fast.rope = by_token
        try:
            yield
        finally:
            mx.fast.scaled_dot_product_attention, mx.fast.rope = own_attention, own_rope
