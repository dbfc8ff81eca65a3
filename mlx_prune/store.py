"""Files that are complete or absent, and locks that keep a second process out of a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mlx_prune.errors import RecordsError

RECORDS_FOLDER = "records"
_TEMPORARY = ".tmp"


@contextmanager
def complete_file(path: Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """A file to write to; whatever happens, its name shows all that was written or what was there before.

    The data goes to a hidden file beside it, is flushed to the disk, and is renamed over the name.

    Args:
        path: The name; its folder is made.
        shared: Several processes may write the same at once.

    Raises:
        RecordsError: The disk is full or the folder cannot be written.
    """
    own = f".{os.getpid()}" if shared else ""
    temporary = path.with_name(f".{path.name}{own}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RecordsError(_explain(error, path)) from error


def write_atomically(path: Path, data: bytes, *, shared: bool = False) -> None:
    """Write a :func:`complete_file`."""
    with complete_file(path, shared=shared) as file:
        file.write(data)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that is complete or absent."""
    write_atomically(path, f"{json.dumps(content, indent=2)}\n".encode())


def remove_leftovers(folder: Path) -> None:
    """Delete half-written files that a killed process left; only the holder of the lock may."""
    for file in folder.glob(f".*{_TEMPORARY}"):
        file.unlink(missing_ok=True)


def lock(path: Path) -> int:
    """Hold a lock file for this process, until its descriptor is closed or the process ends.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: It cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(*error.args) from error
        raise
    return descriptor


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Hold a file for this process, waiting for others that do: to read it, and to write it with an addition.

    Raises:
        RecordsError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
    except OSError as error:
        raise RecordsError(_explain(error, path)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
                held.append(lock(path))
        except BlockingIOError:
            raise RecordsError(
                f"another process is writing to {run}; wait for it, or choose another folder."
            ) from None
        except OSError as error:
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
