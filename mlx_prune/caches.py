"""What is kept from one command to the next, and could be computed anew: where it lies, and clearing it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_prune.errors import RecordsError

STATISTICS, HASHES, DISTRIBUTIONS = "statistics", "hashes", "distributions"
KINDS = {
    STATISTICS: "activations on calibration texts, which masks and repairs are made from",
    DISTRIBUTIONS: "next-token distributions of dense models on texts, for divergence",
    HASHES: "hashes of weight files, by path, length and time of change",
}
_DAY = 86_400.0
# Names are hashes; anything else in the folder is somebody else's.
_OWN = re.compile(r"[0-9a-f]{64}(\.safetensors)?")
# What a killed process left of a file that it was writing; younger ones may still be written.
_LEFT = re.compile(r"\.[0-9a-z.-]+\.tmp")
_LEFT_AFTER = 3600.0


def cache_folder() -> Path:
    """Where caches lie: ``MLX_PRUNE_CACHE``, or ``mlx-prune`` in the user's cache folder."""
    chosen = os.environ.get("MLX_PRUNE_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mlx-prune"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlx-prune"


@dataclass(frozen=True)
class Entry:
    """One thing that is kept.

    Attributes:
        kind: One of :data:`KINDS`.
        path: A file, or a folder of files.
        n_bytes: On the disk, the lengths of its files.
        age_days: Since it was last written.
    """

    kind: str
    path: Path
    n_bytes: int
    age_days: float


def entries(kinds: tuple[str, ...] = tuple(KINDS)) -> list[Entry]:
    """What is kept, the oldest first within each kind."""
    return [entry for kind in kinds for entry in sorted(_of(kind), key=lambda entry: -entry.age_days)]


def clear(found: list[Entry]) -> None:
    """Delete entries; whatever else their folders hold stays.

    Raises:
        RecordsError: One cannot be deleted.
    """
    for entry in found:
        try:
            for file in _files(entry.path):
                file.unlink(missing_ok=True)
            if entry.path.is_dir() and not entry.path.is_symlink():
                entry.path.rmdir()
        except OSError as error:
            raise RecordsError(
                f"{entry.path} cannot be deleted ({error.strerror}); delete it by hand."
            ) from error


def _of(kind: str) -> Iterator[Entry]:
    folder, now = cache_folder() / kind, time.time()
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        left = _LEFT.fullmatch(path.name) is not None
        if path.is_symlink() or not (left or _OWN.fullmatch(path.name)):
            continue
        status = [file.stat() for file in _files(path)]
        newest = max([one.st_mtime for one in status], default=path.stat().st_mtime)
        if not left or now - newest > _LEFT_AFTER:
            yield Entry(kind, path, sum(one.st_size for one in status), max(0.0, now - newest) / _DAY)


def _files(path: Path) -> list[Path]:
    return [path] if not path.is_dir() else sorted(file for file in path.iterdir() if not file.is_dir())
