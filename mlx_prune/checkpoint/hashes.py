"""What identifies a checkpoint's weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlx_prune.checkpoint.shards import Shards
from mlx_prune.store import write_atomically

_SHA256 = re.compile("[0-9a-f]{64}")
_SAMPLES = 32
_SAMPLE_BYTES = 1 << 16


def quick_hash(shards: Shards, beside: Sequence[Path] = ()) -> str:
    """A hash of names, lengths, headers and evenly spaced samples of the weight files.

    Cheap at any size, and different whenever training, merging or conversion touched the weights; not proof
    against a change of single values.

    Args:
        shards: The weight files.
        beside: Further files of safetensors that belong to them.
    """
    digest = hashlib.sha256()
    for file in (*shards.files, *beside):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}\n".encode())
        with open(file, "rb") as opened:
            digest.update(opened.read(8 + int.from_bytes(opened.read(8), "little")))
            for sample in range(_SAMPLES):
                opened.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(opened.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def content_hash(shards: Shards, memory: Path) -> str:
    """A hash of every byte of the weight files.

    A file of the Hub's cache is known by its blob's name. Other hashes are remembered by path, length and
    time of change, so that a model is read once.

    Args:
        shards: The weight files.
        memory: Folder of remembered hashes.
    """
    with ThreadPoolExecutor(4) as pool:
        hashes = list(pool.map(lambda file: _file_hash(file, memory), shards.files))
    names = [file.name for file in shards.files]
    return hashlib.sha256(repr(list(zip(names, hashes, strict=True))).encode()).hexdigest()


def _file_hash(file: Path, memory: Path) -> str:
    real = file.resolve()
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return real.name
    status = real.stat()
    known_as = hashlib.sha256(f"{real}\n{status.st_size}\n{status.st_mtime_ns}".encode()).hexdigest()
    remembered = memory / known_as
    if remembered.is_file():
        return remembered.read_text(encoding="ascii")
    with open(real, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    write_atomically(remembered, found.encode(), shared=True)
    return found
