"""Tokens of many prompts in one row, without padding and without copies of what they share.

A forward gets its tokens as one sequence. All that a block computes token by token it does as ever; only
attention and rotary positions know which tokens belong together. Attention is the sum of its parts (as in
flash attention, Dao et al. 2022, arXiv 2205.14135, section 3.1): what all tokens see is one product of
matrices, the trees of :mod:`mlx_prune.generation.forest` lie side by side in a grid, and the tokens of an
answer are few. The parts replace ``mx.fast.scaled_dot_product_attention`` and positions by token
``mx.fast.rope`` for the time of a forward; whether a model reckons so is for :mod:`probe` to find out.
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

from mlx_prune.generation.quick import exp, quick_functions

# Added to scores of what is out of sight: beyond any score, and no infinity, whose difference is no number.
_HIDDEN = -1e30

Index = NDArray[np.intp]
Pair = tuple[mx.array, mx.array]


@dataclass
class Grid:
    """Queries that look at the same keys, side by side.

    Attributes:
        place: (blocks, queries) which token of the forward stands there; any where none does.
        back: (tokens,) where in the grid each token of the forward stands.
        seen: (blocks, queries, keys) what each query sees.
        key_positions: (blocks, keys) positions of the keys in their prompts.
        positions: (blocks, queries) those of the queries.
    """

    place: Index
    back: Index
    seen: NDArray[np.bool_]
    key_positions: Index
    positions: Index
    _arrays: dict[Any, mx.array] = field(default_factory=dict)

    def hidden(self, window: int | None) -> mx.array:
        """What is added to scores (1, blocks, 1, queries, keys), in a window of so many tokens or none."""
        if window not in self._arrays:
            seen = self.seen
            if window is not None:
                seen = seen & (self.positions[:, :, None] < self.key_positions[:, None] + window)
            self._arrays[window] = _added(seen)
        return self._arrays[window]

    def root_hidden(self, window: int | None, root: int) -> mx.array | None:
        """What a window adds to scores of the root (1, blocks, 1, queries, root)."""
        if window is None or self.positions.max(initial=0) < window:
            return None
        key = ("root", window)
        if key not in self._arrays:
            self._arrays[key] = _added(self.positions[:, :, None] < np.arange(root) + window)
        return self._arrays[key]

    def index(self, name: str) -> mx.array:
        """``place`` or ``back`` as an array of MLX, flat."""
        known = self._arrays.get(name)
        if known is None:
            known = self._arrays[name] = mx.array(getattr(self, name).reshape(-1).astype(np.uint32))
        return known


def _added(seen: NDArray[np.bool_]) -> mx.array:
    return mx.array(np.where(seen, np.float32(0), np.float32(_HIDDEN)))[None, :, None]


@dataclass
class Layout:
    """How the tokens of one forward belong together.

    Attributes:
        positions: (tokens,) in their prompts.
        grids: Of consecutive stretches of the tokens.
        new: Whether the tokens are the keys of the grid; otherwise they are those of answers.
    """

    positions: Index
    grids: Sequence[Grid]
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
    """Keys and values of one layer: of the root, of grids of trees, and of the answers' tokens.

    Attributes:
        window: Length of the layer's sliding window, or None.
        layout: Of the forward to come.
        root: Keys (heads, tokens, size) and values of the root.
        grids: Those of each grid (heads, blocks, keys, size).
        tail: Those of each row of the decode (rows, heads, tokens, size).
    """

    window: int | None = None
    layout: Layout | None = None
    root: Pair | None = None
    grids: list[Pair] = field(default_factory=list)
    tail: Pair | None = None

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
        """Keep keys and values (1, heads, tokens, size) where the layout wants them."""
        layout = self.layout
        assert layout is not None
        layout.cache = self
        if layout.new:
            (grid,) = layout.grids
            self.grids.append((_placed(keys, grid), _placed(values, grid)))
        else:
            added = keys.transpose(2, 1, 0, 3), values.transpose(2, 1, 0, 3)
            self.tail = added if self.tail is None else _both(self.tail, added)
        return keys, values

    def arrays(self) -> list[mx.array]:
        """All that is kept, to be computed."""
        return [array for pair in (*self.grids, self.tail or ()) for array in pair]


def _both(old: Pair, new: Pair) -> Pair:
    return mx.concatenate([old[0], new[0]], axis=2), mx.concatenate([old[1], new[1]], axis=2)


def _by_token(array: mx.array) -> mx.array:
    """(1, heads, tokens, size) as (tokens, heads * size), whose rows are copied fast."""
    return array[0].transpose(1, 0, 2).reshape(array.shape[2], -1)


def _placed(array: mx.array, grid: Grid) -> mx.array:
    """Keys or values of a forward in the grid (heads, blocks, keys, size)."""
    rows = mx.take(_by_token(array), grid.index("place"), axis=0)
    placed = rows.reshape(*grid.place.shape, array.shape[1], -1).transpose(2, 0, 1, 3)
    return mx.contiguous(placed)


Part = tuple[mx.array, mx.array, mx.array]


def _part(queries: mx.array, keys: mx.array, values: mx.array, hidden: mx.array | None) -> Part:
    """Attention to some of the keys: largest score, sum of the weights, sum of weighted values.

    Args:
        queries: (heads, ..., n, size), scaled.
        keys: (heads, ..., keys, size).
        values: (heads, ..., keys, size of values).
        hidden: Added to the scores, in shape (heads, blocks, groups, queries, keys).
    """
    scores = (queries @ keys.swapaxes(-1, -2)).astype(mx.float32)
    if hidden is not None:
        _, blocks, _, count, width = hidden.shape
        scores = (scores.reshape(scores.shape[0], blocks, -1, count, width) + hidden).reshape(scores.shape)
    largest = mx.max(scores, axis=-1, keepdims=True)
    weights = exp(scores - largest)
    summed = (weights.astype(values.dtype) @ values).astype(mx.float32)
    return largest, mx.sum(weights, axis=-1, keepdims=True), summed


def _merged(parts: Sequence[Part]) -> mx.array:
    largest, total, summed = parts[0]
    if len(parts) > 1:
        for part in parts[1:]:
            largest = mx.maximum(largest, part[0])
        shares = [exp(part[0] - largest) for part in parts]
        total, summed = total * shares[0], summed * shares[0]
        for part, share in zip(parts[1:], shares[1:], strict=True):
            total, summed = total + part[1] * share, summed + part[2] * share
    return summed / total


def _of_grid(
    queries: mx.array, start: int, cache: PackedCache, kept: Pair, grid: Grid, mask: Mask
) -> mx.array:
    """Attention of the tokens of one grid, those from ``start`` on (tokens, heads * size of values)."""
    heads = kept[0].shape[0]
    blocks, count = grid.place.shape
    place = grid.index("place")
    placed = mx.take(queries, place, axis=0).reshape(blocks, count, heads, -1, kept[0].shape[-1])
    groups, size = placed.shape[3:]
    # One product per block for all heads that share its keys.
    placed = placed.transpose(2, 0, 3, 1, 4)
    shape = (heads, blocks, groups * count)
    parts = [_part(placed.reshape(*shape, size), *kept, grid.hidden(mask.window))]
    if cache.root is not None:
        flat = placed.reshape(heads, -1, size)
        part = _part(flat, *cache.root, grid.root_hidden(mask.window, cache.root[0].shape[1]))
        parts.append(tuple(x.reshape(*shape, -1) for x in part))  # type: ignore[arg-type]
    if cache.tail is not None and not mask.layout.new:
        mine = place + start
        keys, values = (mx.take(x[:, :, -(mask.window or 0) :], mine, axis=0) for x in cache.tail)
        part = _part(placed.transpose(1, 3, 0, 2, 4).reshape(-1, heads, groups, size), keys, values, None)
        parts.append(
            tuple(  # type: ignore[arg-type]
                x.reshape(blocks, count, heads, groups, -1).transpose(2, 0, 3, 1, 4).reshape(*shape, -1)
                for x in part
            )
        )
    merged = _merged(parts).reshape(heads, blocks, groups, count, -1).transpose(1, 3, 0, 2, 4)
    return mx.take(merged.reshape(blocks * count, -1), grid.index("back"), axis=0)


def attention(queries: mx.array, scale: float, mask: Mask) -> mx.array:
    """Attention of a packed forward to all that its tokens see.

    Args:
        queries: (1, heads, tokens, size).
        scale: Of the scores.
        mask: As the cache made it.

    Returns:
        (1, heads, tokens, size of values).
    """
    layout = mask.layout
    cache = layout.cache
    assert cache is not None
    layout.cache = None  # a layer that does not bring its own keys must not find another's
    every, tokens = queries.shape[1:3]
    kept = cache.grids[-1:] if layout.new else cache.grids
    rows, start, found = _by_token(queries * scale), 0, []
    for pair, grid in zip(kept, layout.grids, strict=True):
        end = start + len(grid.back)
        if end > start:
            found.append(_of_grid(rows[start:end], start, cache, pair, grid, mask))
        start = end
    whole = mx.concatenate(found, axis=0) if len(found) > 1 else found[0]
    return whole.reshape(1, tokens, every, -1).transpose(0, 2, 1, 3)


@contextmanager
def packed_forward() -> Iterator[None]:
    """While this lasts, mlx-lm's models run on :class:`PackedCache`, with quick exponentials.

    Raises:
        ValueError: In the model's call, if its attention is of another kind.
    """
    own_attention, own_rope = mx.fast.scaled_dot_product_attention, mx.fast.rope

    def by_parts(
        q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **more: Any
    ) -> Any:
        if not isinstance(mask, Mask):
            return own_attention(q, k, v, scale=scale, mask=mask, **more)
        if any(value is not None for value in more.values()):
            raise ValueError(f"attention with {', '.join(more)}")
        return attention(q, scale, mask).astype(q.dtype)

    def by_token(a: mx.array, *arguments: Any, offset: Any, **more: Any) -> mx.array:
        packed = isinstance(offset, mx.array) and offset.ndim == 1 and a.shape[0] == 1 != offset.size
        if not packed:
            return own_rope(a, *arguments, offset=offset, **more)
        rows = a.transpose(2, 1, 0, 3)
        return own_rope(rows, *arguments, offset=offset, **more).transpose(2, 1, 0, 3)

    mx.fast.scaled_dot_product_attention = by_parts
    mx.fast.rope = by_token
    try:
        with quick_functions():
            yield
    finally:
        mx.fast.scaled_dot_product_attention, mx.fast.rope = own_attention, own_rope
