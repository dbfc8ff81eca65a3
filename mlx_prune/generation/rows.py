"""A key-value cache whose rows can be copied and dropped, in the protocol of mlx-lm's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_causal_mask
from mlx_lm.models.cache import KVCache, RotatingKVCache


class RowCache(KVCache):
    """Keys and values of one layer for several rows that are all at one position.

    Allocates what it needs and a few slots more, keeps every key (a sliding window is a mask here, not a
    rotating buffer), and can hand out copies of chosen rows.
    """

    keys: Any
    values: Any
    offset: int

    def __init__(self, window: int | None = None, spare: int = 0) -> None:
        """An empty cache.

        Args:
            window: Length of the layer's sliding window, or None.
            spare: Slots allocated beyond the tokens of an update that needs more room.
        """
        super().__init__()
        self.window = window
        self.spare = spare

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append (rows, heads, tokens, size) keys and values; return all of them."""
        start, self.offset = self.offset, self.offset + keys.shape[2]
        if self.keys is None or self.offset > self.keys.shape[2]:
            self.keys = self._grow(self.keys, keys, start)
            self.values = self._grow(self.values, values, start)
        else:
            self.keys[..., start : self.offset, :] = keys
            self.values[..., start : self.offset, :] = values
        return self.keys[..., : self.offset, :], self.values[..., : self.offset, :]

    def _grow(self, old: mx.array | None, new: mx.array, start: int) -> mx.array:
        parts = [new] if old is None or start == 0 else [old[..., :start, :], new]
        if self.spare:
            rows, heads, _, size = new.shape
            parts.append(mx.zeros((rows, heads, self.spare, size), new.dtype))
        return mx.concatenate(parts, axis=2) if len(parts) > 1 else new

    def make_mask(
        self, N: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """The attention mask for ``N`` new tokens, the same for all rows."""
        window = window_size or self.window
        if window is not None and self.offset + N > window:
            mask: mx.array = create_causal_mask(N, self.offset, window_size=window)
            return mask
        if N == 1:
            return None
        return create_causal_mask(N, self.offset) if return_array else "causal"

    def rows(self, index: Sequence[int], length: int, spare: int) -> RowCache:
        """Copies of chosen rows, cut to their first ``length`` tokens.

        Args:
            index: Rows, in any order and number.
            length: At most the present offset.
            spare: Slots beyond ``length`` that the copy may use in place; as many as are allocated are kept.
        """
        copy = RowCache(self.window, spare)
        copy.offset = length
        if length:
            chosen = mx.array(list(index), mx.uint32)
            copy.keys = self.keys[..., : length + spare, :][chosen]
            copy.values = self.values[..., : length + spare, :][chosen]
        return copy


def row_caches(stock: Sequence[Any]) -> list[RowCache] | None:
    """Row caches in place of a model's own caches, or None if one of them is of a kind that cannot be shared.

    Plain and sliding-window caches can; recurrent state, quantized or chunked caches cannot.
    """
    caches = []
    for cache in stock:
        if type(cache) is KVCache:
            caches.append(RowCache())
        elif type(cache) is RotatingKVCache and cache.keep == 0:
            caches.append(RowCache(window=cache.max_size))
        else:
            return None
    return caches
