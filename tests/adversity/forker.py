"""Runs commands in children that are forked when all is imported, so that a hundred starts take seconds.

Reads a JSON list of words a line; writes the child's pid, then its exit status (negative: the signal).
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)
from mlx_prune.cli.main import COMMANDS, run

# What the commands import when they run; nothing of MLX has been computed when a child is forked.
_MORE = (
    "mlx_prune.runs.evaluate",
    "mlx_prune.study.runner",
    "mlx_prune.pruning.job",
    "mlx_prune.report.write",
    "matplotlib.figure",
    "scipy.stats",
)


def main() -> None:
    """Serve until stdin ends."""
    for name in (*COMMANDS.values(), *_MORE):
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        answers.write(f"{pid}\n")
        answers.flush()
        _, status = os.waitpid(pid, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _child(words: list[str]) -> None:
    code = 99
    try:
        # Whoever runs the tests in the background of a shell has interrupts ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(null, descriptor)
        code = run(words)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
