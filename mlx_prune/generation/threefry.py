"""Single numbers of MLX's random stream, without the others.

``mx.random`` makes the i-th number of an array from the key and i alone (threefry 2x32 with 20 rounds; Salmon
et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), so a few of them cost no more than a few.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))

LARGEST_GUMBEL = float(-np.log(-np.log(np.float64(_BELOW_ONE))))
"""No number of ``mx.random.gumbel`` is larger, but for rounding: 16.64."""


def bits_at(keys: Words, index: NDArray[np.integer], size: int) -> Words:
    """Numbers of ``mx.random``'s stream of 32 random bits.

    Args:
        keys: (n, 2), one key per number.
        index: (n,) which number of an array of ``size``.
        size: Length of that array.

    Returns:
        (n,) random bits.
    """
    # The first half of an array are the first words of the blocks, the second half their second words.
    half = (size + 1) // 2
    first = index < half
    low = np.where(first, index, index - half).astype(np.uint32)
    high = np.where(first, index + half, index).astype(np.uint32)
    high[high == size] = 0  # an odd array ends in a block of its own
    one, two = _threefry(keys[:, 0], keys[:, 1], low, high)
    return np.where(first, one, two)


def gumbel_at(keys: Words, index: NDArray[np.integer], size: int) -> NDArray[np.float32]:
    """Numbers of ``mx.random.gumbel((size,), key=key)``; see :func:`bits_at`."""
    bits = bits_at(keys, index, size)
    uniform = np.minimum(bits.astype(np.float32) / np.float32(np.iinfo(np.uint32).max), _BELOW_ONE)
    # MLX's own logarithms, whose last bits another library's would not have.
    return np.array(-mx.log(-mx.log(mx.array(uniform))))


def _threefry(key_low: Words, key_high: Words, low: Words, high: Words) -> tuple[Words, Words]:
    schedule = (key_low, key_high, key_low ^ key_high ^ _PARITY)
    low, high = low + schedule[0], high + schedule[1]
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            low = low + high
            high = ((high << np.uint32(rotation)) | (high >> np.uint32(32 - rotation))) ^ low
        low = low + schedule[(turn + 1) % 3]
        high = high + schedule[(turn + 2) % 3] + np.uint32(turn + 1)
    return low, high
