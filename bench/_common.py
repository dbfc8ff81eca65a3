"""Shared by the benchmarks: interleaved timing, the machine's name, and one plain table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)
from mlx_prune.environment import device, versions


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender over the rounds: the best, and the CPU time of the best by CPU time."""

    wall: float
    cpu: float


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Time contenders in turn, so that a change of the machine's load meets all of them; best of the rounds.

    One round more, not counted, warms up.
    """
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, call in contenders.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            call()
            if number:
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - start_cpu)
    return {name: Timing(min(wall[name]), min(cpu[name])) for name in contenders}


def machine() -> str:
    """One line: processor, cores, backend, load and versions."""
    found, installed = device(), versions()
    blas = ", OpenBLAS" if found["openblas"] else ""
    return (
        f"{found['machine']}, {found['cores']} cores, {found['system']}, MLX {installed['mlx']} on "
        f"{found['backend']}{blas}, NumPy {installed['numpy']}; load average {os.getloadavg()[0]:.1f}"
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, numbers to the right, under its title and the machine."""
    print(f"{title}\n{machine()}\n")
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()
