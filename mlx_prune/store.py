"""Files that are complete or absent, and the lock that keeps a second process out of a run folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_prune.errors import RecordsError

RECORDS_FOLDER = "records"
_TEMPORARY = ".tmp"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that, whatever happens, its name shows all of the data or what was there before.

    The data goes to a hidden file beside it, is flushed to the disk, and is renamed over the name.

    Raises:
        RecordsError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RecordsError(_explain(error, path)) from error


def remove_leftovers(folder: Path) -> None:
    """Delete half-written files that a killed process left; only the holder of the lock may."""
    for file in folder.glob(f".*{_TEMPORARY}"):
        file.unlink(missing_ok=True)


@contextmanager
def locked(run: Path, rank: int = 0) -> Iterator[None]:
    """Hold a run folder for this process; the lock ends with the process, however that ends.

    Args:
        run: The folder, created if absent.
        rank: Number of this process among those that share the job. Rank 0 also refuses a folder in which
            a process of an earlier job is still at work.

    Raises:
        RecordsError: Another process holds it, or the folder cannot be made.
    """
    mine = run / f".lock-{rank}"
    held: list[int] = []
    try:
        try:
            run.mkdir(parents=True, exist_ok=True)
            others = sorted(run.glob(".lock-*")) if rank == 0 else []
            for path in [mine, *(other for other in others if other != mine)]:
                held.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES) and held:
                raise RecordsError(
                    f"another process is writing to {run}; wait for it, or choose another folder."
                ) from None
            raise RecordsError(_explain(error, run)) from error
        # The others' locks were only probed: their own ranks of this job need them.
        for descriptor in held[1:]:
            os.close(descriptor)
        del held[1:]
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full at {path.parent}; what was finished is kept, "
            "so free some space and run the same command again to carry on."
        )
    reason = (error.strerror or str(error)).lower()
    return f"cannot write {path}: {reason}; choose a folder that can be written."
