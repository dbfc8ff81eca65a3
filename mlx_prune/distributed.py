"""Several processes on one job, through MLX's own distributed backend; one process is the plain case.

``mlx.launch -n 2 ... mlxprune ...`` starts the processes and tells them of each other; MLX picks ring, MPI or
JACCL. Without a launcher there is one process of rank 0, and every function here is the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import mlx.core as mx
import numpy as np

T = TypeVar("T")


def rank() -> int:
    """This process's number, from 0."""
    return int(mx.distributed.init().rank())


def size() -> int:
    """Number of processes on the job."""
    return int(mx.distributed.init().size())


def share(values: Sequence[T], block: int = 1) -> list[T]:
    """This rank's part of a sequence that is the same on every rank.

    Args:
        values: Anything ordered.
        block: Neighbors dealt out together; blocks go round the ranks in turn.

    Returns:
        Every block whose number is this rank's modulo the number of ranks; together the ranks hold each
        value exactly once.
    """
    me, count = rank(), size()
    return [value for index, value in enumerate(values) if (index // block) % count == me]


def all_sum(array: mx.array) -> mx.array:
    """The sum of an array over all ranks, evaluated; the array itself on one process.

    Summation runs on the CPU stream, where every backend supports it.
    """
    if size() == 1:
        return array
    total = mx.distributed.all_sum(array, stream=mx.cpu)
    mx.eval(total)
    return total


def gather_integers(value: int) -> list[int]:
    """One whole number per rank (0 <= value < 2**31), in rank order, known to every rank."""
    mine = np.zeros(size(), dtype=np.int32)
    mine[rank()] = value
    return [int(v) for v in np.array(all_sum(mx.array(mine)))]


def barrier() -> None:
    """Return once every rank has called this."""
    gather_integers(0)


def gather_bytes(data: bytes) -> list[bytes]:
    """One byte string per rank, in rank order, known to every rank."""
    if size() == 1:
        return [data]
    lengths = gather_integers(len(data))
    padded = np.zeros(max(1, *lengths), dtype=np.uint8)
    padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    rows = mx.distributed.all_gather(mx.array(padded), stream=mx.cpu)
    flat = np.array(rows).reshape(size(), -1)
    return [flat[index, :length].tobytes() for index, length in enumerate(lengths)]
