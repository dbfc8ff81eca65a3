"""Hidden states between two blocks, for all calibration batches: in memory, or above a limit on disk.

On disk, the states that enter block n lie in ``hidden-<n>``, which appears whole or not at all; a killed
prune starts again from the newest one.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.dtypes import bits_of, type_name

_FOLDER = re.compile(r"hidden-(\d{5})")
_SECONDS_BETWEEN_SNAPSHOTS = 60.0


class HiddenStates:
    """The hidden states that enter one block, batch by batch, and those that enter the next as they come."""

    def __init__(self, batches: int, *, folder: Path | None = None, on_disk: bool = False) -> None:
        """Start with nothing, before block 0.

        Args:
            batches: Number of batches.
            folder: Where states on disk and snapshots go; None keeps everything in memory alone.
            on_disk: Keep the states on disk; needs a folder.
        """
        self.block = 0
        self._folder = folder
        self._on_disk = on_disk and folder is not None
        self._current: list[mx.array | None] = [None] * batches
        self._saved_at = time.monotonic()

    @property
    def batches(self) -> int:
        """Number of batches."""
        return len(self._current)

    def get(self, batch: int) -> mx.array:
        """The states of one batch, [samples, length, width]."""
        held = self._current[batch]
        return held if held is not None else self._read(self._name(self.block), batch)

    def put(self, batch: int, states: mx.array) -> None:
        """Set the states that one batch brings to the next block (or, at the start, to this one)."""
        if self._on_disk:
            self._write(self._unfinished(), batch, states)
        else:
            # The states it replaces have been used by then.
            self._current[batch] = states

    def start(self) -> None:
        """Take the states put so far as those that enter this block."""
        if self._on_disk:
            self._complete()

    def advance(self) -> None:
        """Take the states put so far as those that enter the next block."""
        self.block += 1
        if self._on_disk:
            self._complete()
        elif self._folder is not None and time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SNAPSHOTS:
            for batch in range(self.batches):
                self._write(self._unfinished(), batch, self.get(batch))
            self._complete()
            self._saved_at = time.monotonic()

    def restore(self, block: int) -> None:
        """Take up the states on disk that enter a block."""
        self.block = block
        if not self._on_disk:
            self._current = [self._read(self._name(block), batch) for batch in range(self.batches)]

    def forget_before(self, block: int) -> None:
        """Delete states on disk that enter earlier blocks, but for the newest ones."""
        if self._folder is not None:
            found = saved_blocks(self._folder)
            for old in found[:-1]:
                if old < block:
                    shutil.rmtree(self._name(old))

    def _complete(self) -> None:
        name = self._name(self.block)
        if name.exists():  # complete, but not recorded before a kill
            shutil.rmtree(name)
        self._unfinished().rename(name)

    def _name(self, block: int) -> Path:
        assert self._folder is not None
        return self._folder / f"hidden-{block:05d}"

    def _unfinished(self) -> Path:
        assert self._folder is not None
        return self._folder / "hidden-unfinished"

    def _write(self, folder: Path, batch: int, states: mx.array) -> None:
        folder.mkdir(exist_ok=True)
        file = folder / f"{batch:05d}-{type_name(states.dtype)}.npy"
        np.save(file, np.array(bits_of(states), copy=False))

    def _read(self, folder: Path, batch: int) -> mx.array:
        (file,) = folder.glob(f"{batch:05d}-*.npy")
        bits: np.ndarray[Any, Any] = np.load(file)
        return mx.array(bits).view(getattr(mx, file.stem.split("-")[1]))


def saved_blocks(folder: Path) -> list[int]:
    """The blocks whose incoming states lie complete in a folder, ascending."""
    matches = (_FOLDER.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)
