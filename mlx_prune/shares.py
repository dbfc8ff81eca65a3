"""What this process may take of a machine that it shares, and how it keeps what it was given."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_processes = 1

# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# More is given back at once, as are single arrays of more than glibc's own limit.
_KEPT = 256 << 20
_LARGEST_KEPT = 32 << 20


def share_memory(processes: int) -> None:
    """From now on, take this process for one of so many that do the same side by side."""
    global _processes
    _processes = processes


def memory_sharers() -> int:
    """How many processes like this one the memory is for."""
    return _processes


def keep_freed_memory() -> None:
    """Let this process keep some of the memory that it frees, where its C library is glibc.

    Left alone, glibc gives every array of some size back to the system when it is freed, and takes it anew,
    page by page, for the next: for a small model on a CPU that is a tenth of the time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_TRIM_THRESHOLD, _KEPT)
            mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)


def take_turns() -> None:
    """Let what waits for a core wait until this process's threads pause, where the system is Linux.

    To be called before MLX is used: its thread computes what Python's tells it to, one array at a time. Where
    every core is busy each of the two would otherwise stop the other once per array, a tenth of the time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
