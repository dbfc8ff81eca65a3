"""NumPy's part of a forward, on all cores: MLX waits for it meanwhile, and it runs without Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from mlx_prune._blas import one_thread_in_numpy

T = TypeVar("T")

_threads: ThreadPoolExecutor | None = None


@contextmanager
def all_cores() -> Iterator[None]:
    """While this lasts, :func:`for_each` has a thread for each one that NumPy's own OpenBLAS had.

    That library's threads gain little on the products of single heads, and nothing on what lies between them.
    Within itself, and where the library has one thread already, nothing changes.
    """
    global _threads
    with one_thread_in_numpy() as count:
        if count == 1:
            yield
            return
        with ThreadPoolExecutor(count) as threads:  # which start when there is something to do
            _threads = threads
            try:
                yield
            finally:
                _threads = None


def for_each(function: Callable[[T], None], parts: Sequence[T]) -> None:
    """Call a function with each part, several at a time inside :func:`all_cores`; parts depend on no other.

    What is computed does not depend on the number of threads.
    """
    if _threads is None or len(parts) == 1:
        for part in parts:
            function(part)
    else:
        for _ in _threads.map(function, parts):
            pass
