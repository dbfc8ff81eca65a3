"""A key-value cache whose rows can be copied, dropped and put together, in the protocol of mlx-lm's models.

A row holds its tokens in the first ``lengths[row]`` columns; what is computed next goes to the same columns
of every row, from ``base`` on. Rows of different lengths therefore have unused columns in between, which a
mask hides, and positions of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.base import create_causal_mask
from mlx_lm.models.cache import KVCache, RotatingKVCache
from numpy.typing import NDArray

Lengths = NDArray[np.int32]


class RowCache(KVCache):
    """Keys and values of one layer for several rows.

    Allocates what it needs and a few slots more, keeps every key (a sliding window is a mask here, not a
    rotating buffer), and can hand out copies of chosen rows.

    Attributes:
        keys: (rows, heads, columns, size), or None while empty.
        values: Alike.
        lengths: Tokens of each row in the first columns (rows,).
        base: Column from which on all rows are continued, at least the longest length.
        tail: How many columns were added there.
        mask_axes: Axes of a mask that differs between rows: 4, or 5 for models that part the heads of the
            scores into groups.
    """

    keys: Any
    values: Any

    def __init__(self, window: int | None = None, spare: int = 0, mask_axes: int = 4) -> None:
        """An empty cache.

        Args:
            window: Length of the layer's sliding window, or None.
            spare: Slots allocated beyond the tokens of an update that needs more room.
            mask_axes: See the class.
        """
        self.keys = None
        self.values = None
        self.window = window
        self.spare = spare
        self.mask_axes = mask_axes
        self.lengths: Lengths = np.zeros(1, np.int32)
        self.base = 0
        self.tail = 0

    @property
    def level(self) -> bool:
        """Whether no row has unused columns, so that one position serves all."""
        return bool((self.lengths == self.base).all())

    @property
    def columns(self) -> int:
        """Columns in use."""
        return self.base + self.tail

    @property
    def offset(self) -> int | mx.array:
        """Position of the next token: one for all rows, or one per row (rows,)."""
        return self.columns if self.level else mx.array(self.lengths + self.tail)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append (rows, heads, tokens, size) keys and values; return all of them."""
        start, end = self.columns, self.columns + keys.shape[2]
        if len(self.lengths) != keys.shape[0]:  # the first rows there are
            self.lengths = np.full(keys.shape[0], self.base, np.int32)
        self.tail += keys.shape[2]
        if self.keys is None or end > self.keys.shape[2]:
            self.keys = self._grow(self.keys, keys, start)
            self.values = self._grow(self.values, values, start)
        else:
            self.keys[..., start:end, :] = keys
            self.values[..., start:end, :] = values
        return self.keys[..., :end, :], self.values[..., :end, :]

    def _grow(self, old: mx.array | None, new: mx.array, start: int) -> mx.array:
        parts = [new] if old is None or start == 0 else [old[..., :start, :], new]
        if self.spare:
            rows, heads, _, size = new.shape
            parts.append(mx.zeros((rows, heads, self.spare, size), new.dtype))
        return mx.concatenate(parts, axis=2) if len(parts) > 1 else new

    def make_mask(
        self, N: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """The attention mask for ``N`` new tokens: one for all rows, or (rows, 1, N, columns)."""
        window = window_size or self.window
        if not self.level:
            return self._mask_by_row(N, window)
        if window is not None and self.columns + N > window:
            mask: mx.array = create_causal_mask(N, self.columns, window_size=window)
            return mask
        if N == 1:
            return None
        return create_causal_mask(N, self.columns) if return_array else "causal"

    def _mask_by_row(self, count: int, window: int | None) -> mx.array:
        column = np.arange(self.columns + count)[None]
        new = np.arange(count)[:, None]
        lengths = self.lengths[:, None]
        own = column < lengths
        added = (column >= self.base) & (column <= self.columns + new)
        seen = own[:, None] | added
        if window is not None:
            position = np.where(column < self.base, column, column - self.base + lengths)
            seen &= (lengths + self.tail + new.T)[:, :, None] < position[:, None] + window
        return mx.array(seen[:, None] if self.mask_axes == 4 else seen[:, None, None])

    def rows(self, index: Sequence[int], spare: int) -> RowCache:
        """Copies of chosen rows as they are.

        Args:
            index: Rows, in any order and number.
            spare: Slots beyond the columns in use that the copy may use in place; as many as are allocated
                are kept.
        """
        copy = RowCache(self.window, spare, self.mask_axes)
        chosen = np.asarray(index, np.uint32)
        copy.lengths, copy.base, copy.tail = self.lengths[chosen], self.base, self.tail
        if self.keys is not None:
            copy.keys, copy.values = (
                held[..., : self.columns + spare, :][mx.array(chosen)] for held in (self.keys, self.values)
            )
        return copy


@dataclass(frozen=True)
class Part:
    """Rows of the caches of one forward, cut to the tokens that are theirs.

    Attributes:
        caches: One per layer, alike in rows and columns.
        index: Chosen rows.
        lengths: Tokens of each (rows,): its own in front of ``base`` and what was added to it, filling aside.
    """

    caches: list[RowCache]
    index: Sequence[int]
    lengths: Sequence[int]


def joined(parts: Iterable[Part], spare: int) -> list[RowCache]:
    """Rows of several forwards in one set of caches, each row's tokens in its first columns.

    Args:
        parts: At least one, of the same layers.
        spare: Slots beyond the longest row.
    """
    parts = list(parts)
    width = max(max(part.lengths) for part in parts)
    lengths = np.concatenate([np.asarray(part.lengths, np.int32) for part in parts])
    columns = [_columns(part, width + spare) for part in parts]
    found = []
    for layer, first in enumerate(parts[0].caches):
        cache = RowCache(first.window, spare, first.mask_axes)
        cache.lengths, cache.base = lengths, width
        for name in ("keys", "values"):
            held = [
                _taken(getattr(part.caches[layer], name), part, places, width + spare)
                for part, places in zip(parts, columns, strict=True)
            ]
            setattr(cache, name, held[0] if len(held) == 1 else mx.concatenate(held, axis=0))
        found.append(cache)
    return found


def _columns(part: Part, width: int) -> NDArray[np.int64] | None:
    """Where the tokens of each row lie (rows, width); None where they are the first columns already."""
    cache = part.caches[0]
    own = cache.lengths[np.asarray(part.index)][:, None]
    if (own == cache.base).all():
        return None
    columns = np.arange(width)[None]
    return np.minimum(np.where(columns < own, columns, columns - own + cache.base), cache.columns - 1)


def _taken(held: mx.array, part: Part, columns: NDArray[np.int64] | None, width: int) -> mx.array:
    """Rows of keys or values, (rows, heads, width, size); what is beyond a row's tokens is filling."""
    index = np.asarray(part.index)
    rows, heads, slots, size = held.shape
    if columns is not None:
        places = (index[:, None, None] * heads + np.arange(heads)[None, :, None]) * slots + columns[:, None]
        return mx.take(held.reshape(rows * heads * slots, size), mx.array(places.astype(np.uint32)), axis=0)
    taken = held[..., : min(width, slots), :][mx.array(index.astype(np.uint32))]
    if slots >= width:
        return taken
    return mx.concatenate([taken, mx.zeros((len(index), heads, width - slots, size), held.dtype)], axis=2)


def row_caches(stock: Sequence[Any], mask_axes: int = 4) -> list[RowCache] | None:
    """Row caches in place of a model's own caches, or None if one of them is of a kind that cannot be shared.

    Plain and sliding-window caches can; recurrent state, quantized or chunked caches cannot.
    """
    if not all(_can_be_shared(cache) for cache in stock):
        return None
    return [RowCache(window=window_of(cache), mask_axes=mask_axes) for cache in stock]


def _can_be_shared(cache: Any) -> bool:
    return type(cache) is KVCache or (type(cache) is RotatingKVCache and cache.keep == 0)


def window_of(cache: Any) -> int | None:
    """Length of the sliding window behind a model's own cache, or None."""
    return cache.max_size if isinstance(cache, RotatingKVCache) else None
