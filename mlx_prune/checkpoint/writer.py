"""Write a pruned checkpoint tensor by tensor, in any order, into files whose layout is known beforehand.

Layout "source" is the source's own: the same files, headers and index, every byte of an unpruned tensor
copied, pruned matrices written over with zeros where the mask says. Where mlx-lm reshapes what is pruned, so
that the source's files hold no such matrix, layout "mlx" writes mlx-lm's names and shapes instead.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.checkpoint.shards import INDEX_FILE, Place, Shards, TensorInfo
from mlx_prune.dtypes import bits_of, stored_name

_COPY_BYTES = 8 << 20
_SHARD_BYTES = 5 << 30


@dataclass(frozen=True)
class _File:
    name: str
    header: bytes  # with its length in front
    tensors: tuple[TensorInfo, ...]
    source: Path | None


class CheckpointWriter:
    """The weight files of one output folder."""

    def __init__(self, folder: Path, layout: str, files: tuple[_File, ...], index: bytes | None) -> None:
        """As :func:`plan` lays them out."""
        self.layout = layout
        self._folder = folder
        self._files = files
        self._index = index
        self._tensors = {
            info.name: replace(info, file=folder / file.name) for file in files for info in file.tensors
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all weight files."""
        return sum(len(f.header) + sum(info.nbytes for info in f.tensors) for f in self._files)

    def create(self, rewritten: Mapping[str, int], values: dict[str, mx.array]) -> None:
        """Write the files with everything but the tensors that :meth:`write` brings; their place stays empty.

        Args:
            rewritten: By tensor, how many of its weights will be written; one that is not written whole is
                copied first.
            values: In layout "mlx", all others, lazy; taken out as they are written. Unused in layout
                "source".
        """
        for file in self._files:
            with open(self._folder / file.name, "wb") as out:
                end = max((info.offset + info.nbytes for info in file.tensors), default=len(file.header))
                out.truncate(end)
                out.write(file.header)
                kept = [info for info in file.tensors if rewritten.get(info.name) != prod(info.shape)]
                if file.source is not None:
                    _copy_ranges(file.source, out, kept)
                    continue
                for info in kept:
                    out.seek(info.offset)
                    out.write(_bytes(values.pop(info.name)))
        if self._index is not None:
            (self._folder / INDEX_FILE).write_bytes(self._index)

    def write(self, name: str, values: mx.array) -> None:
        """Write one tensor in its place, in the stored type."""
        info = self._tensors[name]
        if tuple(values.shape) != info.shape:
            raise ValueError(f"{name} is stored as {info.shape}, not {values.shape}")
        self.write_part(Place(name), values)

    def write_part(self, place: Place, values: mx.array) -> None:
        """Write a matrix in its place, in the stored type."""
        info = self._tensors[place.tensor]
        if stored_name(values.dtype) != info.dtype or place.start + values.size > prod(info.shape):
            raise ValueError(f"{info.name} is stored as {info.dtype} {info.shape}")
        with open(info.file, "r+b") as out:
            out.seek(info.offset + place.start * values.itemsize)
            out.write(_bytes(values))

    def read_part(self, place: Place, shape: tuple[int, ...]) -> mx.array:
        """Read back a matrix written before."""
        return self._tensors[place.tensor].read(place.start, shape)


def plan(folder: Path, layout: str, shards: Shards, stored: Mapping[str, mx.array]) -> CheckpointWriter:
    """Lay out the files of a pruned checkpoint.

    Args:
        folder: Where they go.
        layout: "source" or "mlx", see :mod:`mlx_prune.checkpoint.layout`.
        shards: The source's weight files.
        stored: In layout "mlx", all parameters by mlx-lm's names, lazy and in their stored type.

    Returns:
        The writer.
    """
    if layout == "source":
        index = shards.folder / INDEX_FILE
        files = tuple(_source_file(shards, file) for file in shards.files)
        return CheckpointWriter(folder, layout, files, index.read_bytes() if index.is_file() else None)
    groups = list(_split(stored))
    names = ["model.safetensors"]
    if len(groups) > 1:
        names = [f"model-{i + 1:05d}-of-{len(groups):05d}.safetensors" for i in range(len(groups))]
    files = tuple(_new_file(folder / name, group) for name, group in zip(names, groups, strict=True))
    weight_map = {info.name: file.name for file in files for info in file.tensors}
    total = sum(info.nbytes for file in files for info in file.tensors)
    index_json = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return CheckpointWriter(folder, layout, files, json.dumps(index_json, indent=2).encode())


def _source_file(shards: Shards, file: Path) -> _File:
    with open(file, "rb") as opened:
        length = opened.read(8)
        header = length + opened.read(struct.unpack("<Q", length)[0])
    inside = tuple(info for info in shards.tensors.values() if info.file == file)
    return _File(file.name, header, inside, file)


def _split(stored: Mapping[str, mx.array]) -> Iterator[dict[str, mx.array]]:
    group: dict[str, mx.array] = {}
    size = 0
    for name, values in stored.items():
        if group and size + values.nbytes > _SHARD_BYTES:
            yield group
            group, size = {}, 0
        group[name] = values
        size += values.nbytes
    yield group


def _new_file(file: Path, group: Mapping[str, mx.array]) -> _File:
    entries: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    at = 0
    for name, values in group.items():
        entries[name] = {
            "dtype": stored_name(values.dtype),
            "shape": list(values.shape),
            "data_offsets": [at, at + values.nbytes],
        }
        at += values.nbytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    base = 8 + len(text)
    infos = tuple(
        TensorInfo(name, file, e["dtype"], tuple(e["shape"]), base + e["data_offsets"][0], values.nbytes)
        for (name, values), e in zip(group.items(), (entries[n] for n in group), strict=True)
    )
    return _File(file.name, struct.pack("<Q", len(text)) + text, infos, None)


def _copy_ranges(source: Path, out: Any, kept: list[TensorInfo]) -> None:
    """Copy the bytes of some tensors to the same place, neighbours in one go."""
    ranges: list[tuple[int, int]] = []
    for info in sorted(kept, key=lambda info: info.offset):
        start, end = info.offset, info.offset + info.nbytes
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    buffer = memoryview(bytearray(_COPY_BYTES))
    with open(source, "rb", buffering=0) as opened:
        for start, end in ranges:
            opened.seek(start)
            out.seek(start)
            while start < end:
                got = opened.readinto(buffer[: min(_COPY_BYTES, end - start)])
                out.write(buffer[:got])
                start += got


def _bytes(values: mx.array) -> memoryview:
    bits: np.ndarray[Any, Any] = np.array(bits_of(values), copy=False)
    return np.ascontiguousarray(bits).reshape(-1).view(np.uint8).data
