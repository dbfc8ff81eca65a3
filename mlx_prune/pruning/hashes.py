"""What identifies a checkpoint's weights."""

from __future__ import annotations

import hashlib

from mlx_prune.shards import Shards

_SAMPLES = 32
_SAMPLE_BYTES = 1 << 16


def quick_hash(shards: Shards) -> str:
    """A hash of names, lengths, headers and evenly spaced samples of the weight files.

    Cheap at any size, and different whenever training, merging or conversion touched the weights; not proof
    against a change of single values.
    """
    digest = hashlib.sha256()
    for file in shards.files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}\n".encode())
        with open(file, "rb") as opened:
            digest.update(opened.read(8 + int.from_bytes(opened.read(8), "little")))
            for sample in range(_SAMPLES):
                opened.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(opened.read(_SAMPLE_BYTES))
    return digest.hexdigest()
