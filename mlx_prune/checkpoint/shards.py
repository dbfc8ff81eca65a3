"""The safetensors files of a checkpoint folder: what they hold, checked without reading the weights.

A header says where each tensor's bytes lie, so a tensor can be read, or rewritten in a copy of the file,
without touching the others. Nothing here needs MLX.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlx_prune.dtypes import UNSIGNED, WIDTHS, mlx_type
from mlx_prune.errors import CheckpointError, one_line
from mlx_prune.json_files import parse_json

if TYPE_CHECKING:
    import mlx.core as mx

INDEX_FILE = "model.safetensors.index.json"
WEIGHT_FILES = "model*.safetensors"  # what mlx-lm loads

_LARGEST_LENGTH = 2**63 - 1
_PIECE = 1 << 22  # values
_LARGEST_HEADER = 100_000_000  # as the safetensors library


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies.

    Attributes:
        name: Its name in the file.
        file: The file.
        dtype: The safetensors name of its type ("BF16").
        shape: Its shape.
        offset: First byte, counted from the start of the file.
        nbytes: Length in bytes.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    def read(self, start: int, shape: tuple[int, ...]) -> mx.array:
        """Read a run of its values; it has to be one of floats.

        Args:
            start: Values to leave out before it.
            shape: Of the result.

        Returns:
            A fresh array of the stored type.
        """
        import mlx.core as mx

        dtype, width = mlx_type(self.dtype), WIDTHS[self.dtype]
        bits: np.ndarray[Any, Any] = np.fromfile(
            self.file, dtype=UNSIGNED[width], count=math.prod(shape), offset=self.offset + start * width
        )
        return mx.array(bits).view(dtype).reshape(shape)


@dataclass(frozen=True)
class Place:
    """Where a matrix lies, its rows one after the other.

    Attributes:
        tensor: Name of the tensor that holds it.
        start: Weights of the tensor that come before it.
    """

    tensor: str
    start: int = 0


@dataclass(frozen=True)
class Shards:
    """All weight files of a folder.

    Attributes:
        folder: The checkpoint folder.
        files: Its weight files, sorted by name.
        tensors: Every tensor by name.
    """

    folder: Path
    files: tuple[Path, ...]
    tensors: dict[str, TensorInfo]

    @property
    def nbytes(self) -> int:
        """Bytes of the files, links followed."""
        return sum(file.stat().st_size for file in self.files)

    def count_zeros(self, name: str) -> tuple[int, int]:
        """Values of a tensor of floats, and how many are zero of either sign; read piece by piece.

        Raises:
            CheckpointError: The file has become shorter than its header says.
        """
        info = self.tensors[name]
        width = WIDTHS[info.dtype]
        values, zeros = info.nbytes // width, 0
        for start in range(0, values, _PIECE):
            count = min(_PIECE, values - start)
            bits = np.fromfile(
                info.file, dtype=UNSIGNED[width], count=count, offset=info.offset + start * width
            )
            if bits.size != count:
                raise CheckpointError(f"{info.file} ends inside tensor {name}; download or copy it again.")
            zeros += count - int(np.count_nonzero(bits << 1))
        return values, zeros

    def load(self, names: Iterable[str]) -> dict[str, mx.array]:
        """Lazy MLX arrays of some tensors; each call gives fresh ones, which hold nothing until evaluated."""
        import mlx.core as mx

        wanted: dict[Path, list[str]] = {}
        for name in names:
            wanted.setdefault(self.tensors[name].file, []).append(name)
        found: dict[str, mx.array] = {}
        for file, inside in wanted.items():
            arrays: dict[str, mx.array] = mx.load(str(file))  # type: ignore[assignment]
            found.update((name, arrays[name]) for name in inside)
        return found


def open_shards(folder: Path) -> Shards:
    """Read and check the headers of a folder's weight files.

    Args:
        folder: A checkpoint folder.

    Returns:
        Its files and tensors.

    Raises:
        CheckpointError: No safetensors, a shard the index names is absent, a header is not one, or a file is
            shorter than its header says.
    """
    files = sorted(folder.glob(WEIGHT_FILES))
    index_file = folder / INDEX_FILE
    if index_file.is_file():
        _check_index(index_file, {file.name for file in files})
    if not files:
        pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(p.name for p in folder.glob("*.pt*"))
        hint = f"; {pickles[0]} is a pickle, which is never read: convert it first" if pickles else ""
        raise CheckpointError(f"No model*.safetensors file in {folder}{hint}.")
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for info in read_header(file):
            if info.name in tensors:
                raise CheckpointError(
                    f"Tensor {info.name} is in both {tensors[info.name].file.name} and {file.name} "
                    f"of {folder}; remove the file that does not belong."
                )
            tensors[info.name] = info
    return Shards(folder, tuple(files), tensors)


def read_header(file: Path) -> list[TensorInfo]:
    """The tensors of one safetensors file, in the order of their bytes.

    Raises:
        CheckpointError: The file is not safetensors, or is shorter than its header says.
    """
    if not file.is_file():  # a folder; or a pipe, which would be waited for
        raise CheckpointError(f"{file} is not a regular file; download or copy it again.")
    try:
        size = file.stat().st_size
        start, length, header = _read_start(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}).") from error
    if start == b"version ":
        raise CheckpointError(f"{file} is a Git LFS pointer, not weights; run `git lfs pull` in its folder.")
    if length > _LARGEST_HEADER or not header.lstrip().startswith(b"{"):
        raise CheckpointError(f"{file} is not a safetensors file; download or copy it again.")
    if len(header) < length:
        raise CheckpointError(_truncated(file, 8 + length, size))
    try:
        entries = parse_json(header)
        found = [
            TensorInfo(
                name,
                file,
                str(entry["dtype"]),
                tuple(_length(n) for n in entry["shape"]),
                8 + length + _length(entry["data_offsets"][0]),
                _length(entry["data_offsets"][1]) - _length(entry["data_offsets"][0]),
            )
            for name, entry in entries.items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"The header of {file} is damaged ({one_line(error)}); download it again."
        ) from error
    for info in found:
        width = WIDTHS.get(info.dtype)
        if info.nbytes < 0 or (width is not None and math.prod(info.shape) * width != info.nbytes):
            raise CheckpointError(
                f"The header of {file} gives {info.name} a wrong length; download it again."
            )
    end = max((info.offset + info.nbytes for info in found), default=8 + length)
    if end > size:
        raise CheckpointError(_truncated(file, end, size))
    return sorted(found, key=lambda info: info.offset)


def _read_start(file: Path) -> tuple[bytes, int, bytes]:
    """The first eight bytes, the header's length that they state, and as much of the header as is there."""
    with open(file, "rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LARGEST_HEADER + 1
        return start, length, opened.read(length) if length <= _LARGEST_HEADER else b""


def _length(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_LENGTH:
        shown = f"{value!r}" if isinstance(value, float | bool | str) else "such a number"
        raise ValueError(f"{shown} is no length")
    return value


def _truncated(file: Path, wanted: int, size: int) -> str:
    return f"{file} is truncated: it holds {size:,} of {wanted:,} bytes; download or copy it again."


def indexed_files(index_file: Path) -> list[str]:
    """The names of the weight files that an index names, sorted.

    Raises:
        CheckpointError: The index is damaged.
    """
    try:
        weight_map = parse_json(index_file.read_text(encoding="utf-8"))["weight_map"]
        named = sorted(set(weight_map.values()))
        if not all(isinstance(name, str) for name in named):
            raise TypeError("a file's name is no text")
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise CheckpointError(f"{index_file} is damaged ({one_line(error)}); download it again.") from error
    return named


def _check_index(index_file: Path, present: set[str]) -> None:
    named = indexed_files(index_file)
    absent = [name for name in named if name not in present]
    foreign = [name for name in named if not fnmatch(name, WEIGHT_FILES)]
    if foreign:
        raise CheckpointError(
            f"{index_file} names {foreign[0]}, and mlx-lm loads {WEIGHT_FILES} only; rename the weight files."
        )
    if absent:
        raise CheckpointError(
            f"{index_file.parent} is incomplete: {len(absent)} of {len(named)} weight files are absent, "
            f"first {absent[0]}; finish the download."
        )
