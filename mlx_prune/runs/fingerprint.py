"""Fingerprints of a model and of its prompts: what a run's records depend on, beside the questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

_UNSIGNED = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}
_CHUNK = 1 << 24


def model_fingerprint(model: nn.Module) -> str:
    """Hash of every weight of a model as it is in memory, bit for bit.

    Sums of the bit patterns, plain and weighted by position, modulo 2**32: integers, so that any device and
    any order of summation agree.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, array in sorted(tree_flatten(model.parameters())):
        flat = array.reshape(-1).view(_UNSIGNED[array.dtype.size])
        sums = [_checksum(flat[start : start + _CHUNK]) for start in range(0, flat.size, _CHUNK)]
        digest.update(f"{name} {array.dtype} {array.shape} {sums}\n".encode())
    return digest.hexdigest()[:16]


def _checksum(bits: mx.array) -> list[int]:
    words = bits.astype(mx.uint32)
    if bits.dtype == mx.uint64:
        words = words ^ (bits >> 32).astype(mx.uint32)
    # Every position has its own odd weight, so that swapped values change the sum.
    weights = mx.arange(words.size, dtype=mx.uint32) * mx.array(2654435761 * 2 % 2**32, mx.uint32) + 1
    both: Any = mx.stack([mx.sum(words), mx.sum(words * weights)]).tolist()
    return [int(value) for value in both]


def tokens_fingerprint(prompts: Iterable[Sequence[int]]) -> str:
    """Hash of token sequences, in order; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for tokens in prompts:
        digest.update(json.dumps(list(tokens)).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]
