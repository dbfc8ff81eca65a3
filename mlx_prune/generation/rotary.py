"""Rotary positions by token, in NumPy, with the angles of MLX.

Su et al. 2021 (arXiv 2104.09864): pairs of a head's numbers are turned by angles that grow with the position.
MLX on a CPU computes them anew for every head of every layer; what it makes of ones and zeros are their
cosines and sines, which are kept for the layers to come.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.generation.attending import NEAR, Floats


class Rotary:
    """Turns the tokens of one forward."""

    def __init__(self, rope: Any) -> None:
        """With no angles yet; ``rope`` is MLX's own function."""
        self._rope = rope
        self._angles: dict[Any, tuple[Floats, Floats]] = {}
        self._kept: list[Any] = []

    @np.errstate(all="ignore")
    def __call__(
        self, a: mx.array, dims: int, *, traditional: bool, offset: mx.array, **more: Any
    ) -> mx.array:
        """``mx.fast.rope`` with a position for each token.

        Args:
            a: (1, heads, tokens, size).
            dims: How many numbers of a head are turned.
            traditional: Whether neighbors are pairs; else the halves of the ``dims`` are.
            offset: (tokens,) positions.
            more: The other arguments of ``mx.fast.rope``.
        """
        if traditional or a.dtype != mx.float32:
            rows: mx.array = self._rope(
                a.transpose(2, 1, 0, 3), dims, traditional=traditional, offset=offset, **more
            )
            return rows.transpose(2, 1, 0, 3)
        cosines, sines = self._of(dims, offset, more)
        mx.eval(a)
        read = np.asarray(a)[0].transpose(1, 0, 2)
        tokens, heads, size = read.shape
        written = np.empty(read.shape, np.float32)
        written[..., dims:] = read[..., dims:]
        step = max(1, NEAR // (heads * size))
        for first in range(0, tokens, step):
            some = slice(first, first + step)
            turned = written[some, :, :dims]
            halves = read[some, :, :dims].reshape(-1, heads, 2, dims // 2)
            np.multiply(read[some, :, :dims], cosines[some], out=turned)
            turned += (halves[:, :, ::-1] * sines[some]).reshape(turned.shape)
        return mx.array(written).transpose(1, 0, 2)[None]

    def _of(self, dims: int, offset: mx.array, more: dict[str, Any]) -> tuple[Floats, Floats]:
        """Cosines (tokens, 1, dims) and sines (tokens, 1, 2, dims / 2), the first half of these negative."""
        key = dims, id(offset), *((name, id(value)) for name, value in sorted(more.items()))
        if key not in self._angles:
            # What has gone may leave its id to another.
            self._kept += [offset, more]
            half = dims // 2
            first = np.zeros((offset.size, 1, 1, dims), np.float32)
            first[..., :half] = 1
            turned = np.array(self._rope(mx.array(first), dims, traditional=False, offset=offset, **more))[
                :, :, 0
            ]
            cosines, sines = turned[..., :half], turned[..., half:]
            self._angles[key] = np.concatenate([cosines] * 2, -1), np.stack([-sines, sines], 2)
        return self._angles[key]
