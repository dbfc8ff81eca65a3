"""Draw in several processes at once, where a copy of this one can be had for nothing: forked, on Linux.

A fork knows all that this process knows, methods that were registered in it included. It does nothing but
draw and tell: it runs no other library's threads, which a fork does without. Elsewhere, and on a single
core, this process draws alone.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, current_process, get_context
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from mlx_prune import environment

T = TypeVar("T")

# More share so little work that starting them is much of it.
_MOST = 4
# The others end about when this process does; one that does not within so many seconds is given up.
_PATIENCE = 60.0
# Tasks are handed out by their numbers, one byte each.
_MOST_TASKS = 256


def processes_to_draw(tasks: int) -> int:
    """How many processes, this one included, so many drawings are shared by."""
    if sys.platform != "linux" or current_process().daemon or tasks > _MOST_TASKS:
        return 1
    return max(1, min(_MOST, environment.cores(), tasks))


def all_of(tasks: Sequence[Callable[[], T]], processes: int, begin: Callable[[int], None]) -> list[T]:
    """What some functions return, in their order; as :func:`started`, with nothing to do meanwhile."""
    with started(tasks, processes, begin) as finish:
        return finish()


@contextmanager
def started(
    tasks: Sequence[Callable[[], T]], processes: int, begin: Callable[[int], None]
) -> Iterator[Callable[[], list[T]]]:
    """Have some functions begun by other processes while this one does something else first.

    Args:
        tasks: They need nothing but Python and Matplotlib, and what they return can be pickled.
        processes: As :func:`processes_to_draw` says.
        begin: Told the number of each task that this process begins.

    Yields:
        Does in this process, too, what nobody has begun, and returns what all return, in their order.
    """
    with _handed_out(len(tasks)) as numbers, _others(processes - 1, tasks, numbers) as pipes:

        def finish() -> list[T]:
            found: dict[int, T] = {}
            for number in _taken(numbers):
                begin(number)
                found[number] = tasks[number]()
            for pipe in pipes:
                # What a process that was ended from outside had drawn is drawn again.
                with suppress(EOFError, ConnectionError):
                    if pipe.poll(_PATIENCE):
                        found |= pipe.recv()
            return [found[number] if number in found else task() for number, task in enumerate(tasks)]

        yield finish


@contextmanager
def _handed_out(count: int) -> Iterator[int]:
    """A pipe that holds the numbers of all tasks; whoever reads one has the task."""
    reading, writing = os.pipe()
    try:
        os.write(writing, bytes(range(count)))
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def _taken(numbers: int) -> Iterator[int]:
    while number := os.read(numbers, 1):
        yield number[0]


@contextmanager
def _others(
    count: int, tasks: Sequence[Callable[[], T]], numbers: int
) -> Iterator[list[connection.Connection[Any, Any]]]:
    """Forks of this process that do what they take, and the pipes they tell it through."""
    pipes: list[connection.Connection[Any, Any]] = []
    forks: list[BaseProcess] = []
    try:
        for _ in range(count):
            context = get_context("fork")
            mine, theirs = context.Pipe(duplex=False)
            pipes.append(mine)
            fork: BaseProcess = context.Process(target=_work, args=(theirs, tasks, numbers), daemon=True)
            with theirs, warnings.catch_warnings():
                # Threads of other libraries, which a fork lacks, are not called upon there.
                warnings.simplefilter("ignore", DeprecationWarning)
                # Where no more processes may be, fewer draw.
                with suppress(OSError):
                    fork.start()
                    forks.append(fork)
        yield pipes
    finally:
        for fork in forks:
            fork.kill()
            fork.join()
        for pipe in pipes:
            pipe.close()


def _work(pipe: connection.Connection[Any, Any], tasks: Sequence[Callable[[], T]], numbers: int) -> None:
    # Ctrl-C reaches every process of a terminal; the one that forked decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    found: dict[int, T] = {}
    # What fails here fails again where somebody hears of it.
    with suppress(Exception):
        for number in _taken(numbers):
            found[number] = tasks[number]()
    with suppress(ConnectionError):
        pipe.send(found)
