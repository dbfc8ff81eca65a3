"""The weight files of a model with fewer experts: the source's own, without the bytes of those that go.

Nothing is computed and no tensor is converted: what stays is copied as it lies, quantized or not, under the
names that the source has for it. Experts stand in files one by one (``experts.3.up_proj.weight``, then the
later ones are renumbered) or in stacks whose first axis counts them.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from mlx_prune.checkpoint.shards import INDEX_FILE, Shards, TensorInfo
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.json_files import read_object
from mlx_prune.pruning.experts.mixtures import Indices, Mixture
from mlx_prune.store import write_json

_NUMBER = re.compile(r"(?:^|(?<=\.))\d+(?=\.)")
# Words in the names of all that belongs to experts in a block.
_OF_EXPERTS = re.compile(r"expert|router|gate|moe|switch", re.IGNORECASE)
_COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class Piece:
    """A tensor of the result.

    Attributes:
        name: Its name there.
        source: The tensor that it is, or is cut from.
        rows: Which rows of its first axis; None for all of it.
    """

    name: str
    source: TensorInfo
    rows: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As written."""
        return self.source.shape if self.rows is None else (len(self.rows), *self.source.shape[1:])

    @property
    def nbytes(self) -> int:
        """As written."""
        return self.source.nbytes if self.rows is None else len(self.rows) * self._row_bytes

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First byte and end of what is copied, in the source's file; neighbors in one go."""
        if self.rows is None:
            return [(self.source.offset, self.source.offset + self.source.nbytes)]
        found: list[tuple[int, int]] = []
        for row in self.rows:
            start = self.source.offset + row * self._row_bytes
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], start + self._row_bytes)
            else:
                found.append((start, start + self._row_bytes))
        return found

    @property
    def _row_bytes(self) -> int:
        return self.source.nbytes // self.source.shape[0]


@dataclass(frozen=True)
class CutFile:
    """One weight file of the result.

    Attributes:
        name: That of the file it is cut from.
        header: With its length in front.
        pieces: In the order of their bytes.
    """

    name: str
    header: bytes
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        """Its length, known before it is written."""
        return len(self.header) + sum(piece.nbytes for piece in self.pieces)

    def write(self, folder: Path) -> None:
        """Write it whole; one that lies there whole is left."""
        target = folder / self.name
        if target.is_file():
            return
        unfinished = folder / f"{self.name}.unfinished"
        with open(unfinished, "wb") as out:
            out.write(self.header)
            if self.pieces:
                with open(self.pieces[0].source.file, "rb", buffering=0) as opened:
                    for piece in self.pieces:
                        for start, end in piece.ranges:
                            _copy(opened, out, start, end)
        unfinished.rename(target)


class ExpertFiles:
    """Which tensors of a source hold its experts, and the files without some of these."""

    def __init__(
        self,
        shards: Shards,
        mixtures: Sequence[Mixture],
        unchanged: Mapping[str, tuple[int, ...]],
        depth: int,
    ) -> None:
        """Find them by their names and shapes.

        Args:
            shards: The source's weight files.
            mixtures: Of the model.
            unchanged: Shapes of mlx-lm's other parameters, which are not cut whatever their size.
            depth: Number of blocks; tensors of later ones predict further tokens, and mlx-lm leaves them out.

        Raises:
            RecipeError: Their places are not those of experts that were seen.
        """
        self._shards = shards
        self._mixtures = {mixture.block: mixture for mixture in mixtures}
        self._unchanged = unchanged
        self._depth = depth
        self._stem = self._find_stem()
        self._numbers = self._find_numbers()
        self._further = self._find_further()

    def cut(self, kept: Mapping[int, Indices]) -> list[CutFile]:
        """Lay out the files.

        Args:
            kept: By block, the experts that stay.

        Returns:
            The files that hold anything, in the source's order.
        """
        return [
            _file(file, pieces)
            for file in self._shards.files
            if (pieces := [p for info in self._in(file) for p in self._piece(info, kept)])
        ]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Tensors of blocks beyond the model's, whose experts nobody scores."""
        return self._further

    def _in(self, file: Path) -> Iterator[TensorInfo]:
        return (info for info in self._shards.tensors.values() if info.file == file)

    def _piece(self, info: TensorInfo, kept: Mapping[int, Indices]) -> Iterator[Piece]:
        if info.name in self._further:
            return
        block, rest = self._place(info.name)
        mixture = self._mixtures.get(block)
        if mixture is None:
            yield Piece(info.name, info)
            return
        stay = kept[block]
        number = self._numbers.get(info.name)
        if number is not None:
            start, expert = number
            if expert in stay:
                place, end = int(np.searchsorted(stay, expert)), start + len(str(expert))
                yield Piece(f"{info.name[:start]}{place}{info.name[end:]}", info)
            return
        rows = self._stacked(info, mixture, rest)
        if rows is None:
            yield Piece(info.name, info)
        else:
            chosen = [*stay.tolist(), *range(mixture.count, rows)]
            yield Piece(info.name, info, tuple(chosen))

    def _stacked(self, info: TensorInfo, mixture: Mixture, rest: str) -> int | None:
        """The length of a first axis that counts experts; None of any other."""
        own = mixture.parameters.get(info.name)
        if own is not None:
            return own
        if not info.shape or self._unchanged.get(info.name) == info.shape:
            return None
        counted = info.shape[0] in {mixture.count, *mixture.parameters.values()}
        return info.shape[0] if counted and _OF_EXPERTS.search(rest) else None

    def _place(self, name: str) -> tuple[int, str]:
        """The block a tensor belongs to, -1 for none, and the rest of its name."""
        if not name.startswith(self._stem):
            return -1, name
        number, _, rest = name[len(self._stem) :].partition(".")
        return (int(number), rest) if number.isdigit() else (-1, name)

    def _find_stem(self) -> str:
        """What the names of all blocks begin with: the stem under which most tensors of experts lie."""
        found: dict[str, set[int]] = {}
        for name in self._shards.tensors:
            number = _NUMBER.search(name)
            if number is not None and _OF_EXPERTS.search(name[number.end() :]):
                found.setdefault(name[: number.start()], set()).add(int(number[0]))
        fitting = [stem for stem, numbers in found.items() if numbers >= set(self._mixtures)]
        if len(fitting) != 1:
            raise RecipeError(self._unknown("numbers its blocks"))
        return fitting[0]

    def _find_numbers(self) -> dict[str, tuple[int, int]]:
        """Of tensors of single experts: where in the name the number stands, and the number."""
        found: dict[tuple[int, str], dict[str, tuple[int, int]]] = {}
        for name in self._shards.tensors:
            block, rest = self._place(name)
            if block not in self._mixtures:
                continue
            number = _NUMBER.search(name, len(name) - len(rest))
            if number is not None:
                before = name[len(name) - len(rest) : number.start()]
                found.setdefault((block, before), {})[name] = (number.start(), int(number[0]))
        numbers: dict[str, tuple[int, int]] = {}
        for (block, _), inside in found.items():
            if {expert for _, expert in inside.values()} == set(range(self._mixtures[block].count)):
                numbers |= inside
        return numbers

    def _find_further(self) -> tuple[str, ...]:
        places = {name: self._place(name) for name in self._shards.tensors}
        beyond = {block for block, rest in places.values() if block >= self._depth and "expert" in rest}
        return tuple(name for name, (block, _) in places.items() if block in beyond)

    def _unknown(self, what: str) -> str:
        return (
            f"The weight files of {self._shards.folder} hold experts in a way that is not known (how it "
            f"{what}), so they cannot be cut; convert the model with mlx_lm.convert first."
        )


def write_index(folder: Path, source: Path, files: Sequence[CutFile]) -> None:
    """Write the index of the files, if the source has one or there are several."""
    index = source / INDEX_FILE
    if not index.is_file() and len(files) == 1:
        return
    content = read_object(index, CheckpointError, "download it again") if index.is_file() else {}
    metadata = content.get("metadata") or {}
    total = sum(piece.nbytes for file in files for piece in file.pieces)
    weight_map = {piece.name: file.name for file in files for piece in file.pieces}
    metadata = {k: v for k, v in metadata.items() if k != "total_parameters"} | {"total_size": total}
    write_json(folder / INDEX_FILE, {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))})


def _file(source: Path, pieces: Sequence[Piece]) -> CutFile:
    with open(source, "rb") as opened:
        length = struct.unpack("<Q", opened.read(8))[0]
        said = json.loads(opened.read(length)).get("__metadata__")
    entries: dict[str, object] = {} if said is None else {"__metadata__": said}
    at = 0
    for piece in pieces:
        entries[piece.name] = {
            "dtype": piece.source.dtype,
            "shape": list(piece.shape),
            "data_offsets": [at, at + piece.nbytes],
        }
        at += piece.nbytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return CutFile(source.name, struct.pack("<Q", len(text)) + text, tuple(pieces))


def _copy(opened: IO[bytes], out: IO[bytes], start: int, end: int) -> None:
    opened.seek(start)
    buffer = memoryview(bytearray(min(_COPY_BYTES, end - start)))
    while start < end:
        got = opened.readinto(buffer[: min(len(buffer), end - start)])  # type: ignore[attr-defined]
        if not got:
            raise CheckpointError(
                "A weight file became shorter while it was read; download or copy it again."
            )
        out.write(buffer[:got])
        start += got
