"""Attention in NumPy: on a CPU, what MLX does around its products of matrices costs more than they do.

Queries are attended some together, so that each operation is called once for all of them. The scores of keys
in different places (what all queries see, what some see, what each one sees alone) lie side by side, and one
softmax is over all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HIDDEN = np.float32(-1e30)
"""Added to scores of what is out of sight: beyond any score, yet finite, as infinities have no difference."""

NEAR = 1 << 16
"""Numbers that several operations in a row find near the processor."""

QUERIES_TOGETHER = 64
"""About so many queries are attended together: fewer would cost calls; more, where keys follow each other,
scores of what comes after a query, which it does not see."""


@dataclass(frozen=True)
class Kept:
    """What queries see.

    Attributes:
        keys: (tokens, heads, size); where every query has its own, (queries, tokens, heads, size).
        values: The same with the size of values.
    """

    keys: Floats
    values: Floats

    def __getitem__(self, some: slice | tuple[slice, ...] | NDArray[np.intp]) -> Kept:
        return Kept(self.keys[some], self.values[some])


def hidden(seen: NDArray[np.bool_]) -> Floats:
    """What is added to scores where not all is seen, of that shape."""
    return np.where(seen, np.float32(0), HIDDEN)


@np.errstate(all="ignore")  # what is no number is told where answers are drawn
def attend(
    queries: Floats,
    scale: float,
    shared: Kept | None,
    pieces: Sequence[tuple[slice, Sequence[Kept]]],
    own: Kept | None,
    added: Floats | None,
    written: Floats,
) -> None:
    """Attention of queries to what they see.

    Args:
        queries: (queries, query heads, size); consecutive query heads share a head of the keys.
        scale: Of the scores.
        shared: Keys of all queries.
        pieces: Keys of some: stretches of the queries, in order and without gaps, and where theirs lie, one
            or more places. At least one.
        own: Keys (queries, keys, heads, size) of each query alone, all of them seen.
        added: (queries, keys), to the scores of that many keys, the last of the shared ones followed by as
            many as the largest piece has; with :data:`HIDDEN` where a query does not see. Keys before those,
            or all if None, are seen by all.
        written: (queries, query heads, size of values), the result.
    """
    count, every, size = queries.shape
    heads = pieces[0][1][0].keys.shape[1]
    groups = every // heads
    start = 0 if shared is None else len(shared.keys)
    end = start + max(sum(len(kept.keys) for kept in places) for _, places in pieces)
    width = end + (0 if own is None else own.keys.shape[1])
    ones = np.ones(width, np.float32)
    step = max(1, NEAR // (groups * count * width))
    looks, short = _columns(pieces, groups, start, end)
    by_head = queries.reshape(count, heads, groups, size).transpose(1, 0, 2, 3)
    result = written.reshape(count, heads, groups, -1).transpose(1, 0, 2, 3)
    for first in range(0, heads, step):
        some = slice(first, first + step)
        rows = np.multiply(by_head[some], np.float32(scale), order="C")
        flat = rows.reshape(len(rows), -1, size)
        scores = np.empty((*flat.shape[:2], width), np.float32)
        apart = scores.reshape(*rows.shape[:3], width)
        if shared is not None:
            np.matmul(flat, shared.keys[:, some].transpose(1, 2, 0), out=scores[:, :, :start])
        for mine, at, kept in looks:
            np.matmul(flat[:, mine], kept.keys[:, some].transpose(1, 2, 0), out=scores[:, mine, at])
        for mine, at in short:
            scores[:, mine, at] = HIDDEN
        if own is not None:
            found = np.matmul(rows.transpose(1, 0, 2, 3), own.keys[:, :, some].transpose(0, 2, 3, 1))
            apart[..., end:] = found.transpose(1, 0, 2, 3)
        if added is not None:
            apart[..., end - added.shape[1] : end] += added[:, None]
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        summed = np.zeros((*flat.shape[:2], written.shape[-1]), np.float32)
        if shared is not None:
            np.matmul(scores[:, :, :start], shared.values[:, some].transpose(1, 0, 2), out=summed)
        for mine, at, kept in looks:
            summed[:, mine] += np.matmul(scores[:, mine, at], kept.values[:, some].transpose(1, 0, 2))
        sums = summed.reshape(*rows.shape[:3], -1)
        if own is not None:
            found = np.matmul(
                apart[..., end:].transpose(1, 0, 2, 3), own.values[:, :, some].transpose(0, 2, 1, 3)
            )
            sums += found.transpose(1, 0, 2, 3)
        np.divide(sums, (apart @ ones)[..., None], out=result[some])


def _columns(
    pieces: Sequence[tuple[slice, Sequence[Kept]]], groups: int, start: int, end: int
) -> tuple[list[tuple[slice, slice, Kept]], list[tuple[slice, slice]]]:
    """Rows and columns of the scores: of each place that pieces see, and of what shorter ones leave empty."""
    looks, short = [], []
    for lies, places in pieces:
        mine, last = slice(lies.start * groups, lies.stop * groups), start
        for kept in places:
            looks.append((mine, slice(last, last := last + len(kept.keys)), kept))
        if last < end:
            short.append((mine, slice(last, end)))
    return looks, short
