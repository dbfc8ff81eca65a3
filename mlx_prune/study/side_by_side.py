"""Run configurations of a study at once, each in a process of its own.

Pruning and questioning a small model keeps little more than one core busy: MLX computes one array at a time,
and its BLAS gains little from more threads on small matrices. Processes share nothing but the study's folder,
in which each result has its own file or is added under a lock.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from mlx_prune import environment, registry, shares
from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError, RecordsError, one_line
from mlx_prune.paths import expanded
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.rows import StudyModel

# A process takes about 2 s of CPU time to start, which more of them hardly win back.
_MOST = 8
# Bytes that a process takes beside the weights: libraries, activations, answers in flight.
_BESIDE_WEIGHTS = 1 << 30
# Dense and pruned, in a type that may be twice as wide as the stored one.
_COPIES = 4
_MEMORY_SHARE = 0.7
_THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """A configuration to run, and the dense model it is made of."""

    model: StudyModel
    name: Configuration


def at_once(config: StudyConfig, asked: int | None) -> int:
    """How many configurations to run at once.

    Args:
        config: The study.
        asked: What the user wants; None for what cores and memory allow.

    Raises:
        DataError: Several are asked for where the GPU computes, the clock runs, or a method was registered in
            this process alone.
    """
    if asked == 1:
        return 1
    alone = ""
    if config.latency.enabled:
        alone = "times are measured on a machine that does nothing else; switch [latency] off"
    elif registry.of_this_process():
        alone = (
            f"other processes do not know the method {registry.of_this_process()[0]!r}; name an entry point"
        )
    elif environment.backend() != "cpu":
        alone = "a model on the GPU uses all of it"
    if asked is None:
        return 1 if alone else max(1, min(_MOST, environment.cores(), _fitting(config)))
    if alone:
        raise DataError(f"--jobs {asked} cannot be: {alone}, or leave --jobs out.")
    return asked


def _fitting(config: StudyConfig) -> int:
    """Processes that memory holds together; one where a model must be downloaded first."""
    largest = 0
    for path in config.paths:
        folder = _folder(path)
        if folder is None:
            return 1
        largest = max(largest, sum(file.stat().st_size for file in folder.glob("*.safetensors")))
    room = _MEMORY_SHARE * environment.physical_memory()
    return int(room / (_COPIES * largest + _BESIDE_WEIGHTS))


def _folder(path: str) -> Path | None:
    if path == "demo":
        from mlx_prune import demo

        return Path(demo.model_path())
    folder = expanded(path)
    return folder if folder.is_dir() else None


@dataclass
class _Worker:
    """A process, the pipe to it, and what it works on."""

    process: BaseProcess
    pipe: connection.Connection[Any, Any]
    task: Task | None = None


@dataclass(frozen=True)
class _Settings:
    """What every process is told once."""

    config: StudyConfig
    folder: Path
    trust_remote_code: bool
    jobs: int
    begin: Callable[[], None] | None


@dataclass
class _Crew:
    """The processes, and what is left for them."""

    left: deque[Task]
    tell: Callable[[Configuration, str], None]
    progress: ProgressCallback
    workers: list[_Worker] = field(default_factory=list)

    def begin(self, worker: _Worker) -> None:
        """Give a process its next task, or let it go."""
        worker.task = self.left.popleft() if self.left else None
        # One that was ended from outside is noticed where it is read from.
        try:
            worker.pipe.send(worker.task)
        except ConnectionError:
            return
        if worker.task is not None:
            self.tell(worker.task.name, "running")

    def hear(self, worker: _Worker) -> None:
        """Take what a process says."""
        try:
            said = worker.pipe.recv()
        except (EOFError, ConnectionError):
            _ended(worker)
        if isinstance(said, Progress):
            self.progress(said)
        elif isinstance(said, BaseException):
            raise said
        else:
            assert worker.task is not None
            self.tell(worker.task.name, "done")
            self.begin(worker)


def run_side_by_side(
    config: StudyConfig,
    folder: Path,
    tasks: Sequence[Task],
    jobs: int,
    *,
    trust_remote_code: bool,
    progress: ProgressCallback,
    tell: Callable[[Configuration, str], None],
    begin: Callable[[], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Run configurations of a study whose folder this process holds.

    Args:
        config: The study, its data named.
        folder: Its folder.
        tasks: What to run, in order.
        jobs: Processes.
        trust_remote_code: Run Python code that comes with the models.
        progress: Told about the steps at hand.
        tell: Told of each configuration that it is "running" or "done".
        begin: Called first in each process.
        meanwhile: Called once here, when a process has nothing left to do while others work.

    Raises:
        RecordsError: A process was ended from outside.
        MlxPruneError: What the first process that failed raises. The others are ended, which loses at most
            the batches in flight.
    """
    context = get_context("spawn")
    settings = _Settings(config, folder.absolute(), trust_remote_code, jobs, begin)
    crew = _Crew(deque(tasks), tell, progress)
    try:
        with _threads(max(1, environment.cores() // jobs)):
            for _ in range(jobs):
                mine, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, settings), daemon=True)
                process.start()
                theirs.close()
                crew.workers.append(_Worker(process, mine))
        for worker in crew.workers:
            crew.begin(worker)
        while busy := {worker.pipe: worker for worker in crew.workers if worker.task is not None}:
            for pipe in connection.wait(list(busy)):
                assert isinstance(pipe, connection.Connection)
                crew.hear(busy[pipe])
            if meanwhile is not None and any(worker.task is None for worker in crew.workers):
                meanwhile()
                meanwhile = None
    except BaseException:
        for worker in crew.workers:
            worker.process.kill()
        raise
    finally:
        for worker in crew.workers:
            worker.process.join()
            worker.pipe.close()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that start meanwhile have so many threads of BLAS, unless the user has said how many."""
    if any(name in os.environ for name in _THREADS):
        yield
        return
    os.environ[_THREADS[0]] = str(count)
    try:
        yield
    finally:
        del os.environ[_THREADS[0]]


def _ended(worker: _Worker) -> NoReturn:
    """Say that a process is gone."""
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    where = "" if worker.task is None else f" on {worker.task.name.full_name}"
    short = "; where memory is short, take --jobs 1" if code == -signal.SIGKILL else ""
    raise RecordsError(
        f"a process that worked{where} was ended ({how}); what was finished is kept, and the same command "
        f"carries on{short}."
    )


def _work(pipe: connection.Connection[Any, Any], settings: _Settings) -> None:
    """Run what the pipe names until it names nothing more."""
    # Ctrl-C reaches every process of a terminal; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if settings.begin is not None:
            settings.begin()
        shares.keep_freed_memory()
        shares.take_turns()
        shares.share_memory(settings.jobs)
        from mlx_prune.study.folder import StudyFolder
        from mlx_prune.study.work import Work

        folder = StudyFolder(settings.folder)
        work = Work(settings.config, folder, settings.trust_remote_code, pipe.send)
        while (task := pipe.recv()) is not None:
            work.run(task.model, task.name)
            pipe.send("done")
    except (EOFError, ConnectionError):
        return
    except BaseException as error:
        pipe.send(_portable(error))


def _portable(error: BaseException) -> BaseException:
    """An error as another process can read it, with its traceback."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {one_line(error)}")
    return error


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, whatever ended it."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
