"""Selecting the weights to prune, against sorting: the study's way for Wanda, a full sort for magnitude.

    python bench/selection.py [--size 4096] [--rounds 9]

Beside the time stands the share of the memory bus: bytes that must move (the matrix in, the matrix out) over
the time, against a plain copy of the same matrix.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)

# isort: split
import mlx.core as mx
import numpy as np
from _common import Timing, interleaved, table

from mlx_prune.environment import backend
from mlx_prune.kernels import check, launch
from mlx_prune.kernels import portable as select_portable
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.selection import prune_weight

SPARSITY = 0.5


def argsort_and_scatter(weight: mx.array, scale: mx.array) -> None:
    """Rank every score of a row by a full argsort, scatter the ranks, multiply by the mask."""
    scores = mx.abs(weight) * scale
    order = mx.argsort(scores, axis=-1)
    positions = mx.broadcast_to(mx.arange(order.shape[-1], dtype=order.dtype), order.shape)
    ranks = mx.put_along_axis(mx.zeros_like(order), order, positions, axis=-1)
    mx.eval(weight * (ranks >= int(weight.shape[1] * SPARSITY)).astype(weight.dtype))


def full_sort(weight: mx.array) -> None:
    """Sort all magnitudes for the threshold, keep what lies above it."""
    magnitude = mx.abs(weight)
    threshold = mx.sort(magnitude.reshape(-1))[int(weight.size * SPARSITY) - 1]
    mx.eval(weight * (magnitude > threshold).astype(weight.dtype))


def numpy_full_sort(weight: mx.array) -> None:
    """The same in NumPy, float32, whose sort is vectorized on processors with AVX-512."""
    values = np.array(weight.astype(mx.float32), copy=False)
    magnitude = np.abs(values)
    threshold = np.sort(magnitude, axis=None)[int(values.size * SPARSITY) - 1]
    mx.eval(mx.array(values * (magnitude > threshold)).astype(weight.dtype))


def contenders(weight: mx.array, scale: mx.array, rounds: int) -> dict[str, Callable[[], object]]:
    wanda, magnitude = Recipe("wanda", SPARSITY), Recipe("magnitude", SPARSITY)
    held: np.ndarray = np.array(weight.view(mx.uint32 if weight.dtype == mx.float32 else mx.uint16))
    found: dict[str, Callable[[], object]] = {
        "copy": held.copy,
        "argsort": lambda: argsort_and_scatter(weight, scale),
        "sort": lambda: full_sort(weight),
        "NumPy sort": lambda: numpy_full_sort(weight),
        "wanda": lambda: mx.eval(prune_weight(weight, wanda, "w", scale)),
        "wanda 2:4": lambda: mx.eval(prune_weight(weight, Recipe("wanda", pattern="2:4"), "w", scale)),
        "magnitude": lambda: mx.eval(prune_weight(weight, magnitude, "w")),
        "random": lambda: mx.eval(prune_weight(weight, Recipe("random", SPARSITY), "w")),
    }
    if backend() == "cpu":
        # A streamed prune owns the weight it has read. Each round gets a copy, made outside the clock.
        copies = [mx.array(held).view(weight.dtype) for _ in range(2 * rounds + 2)]
        mx.eval(copies)
        found["wanda, in place"] = lambda: prune_weight(copies.pop(), wanda, "w", scale, in_place=True)
        found["magnitude, in place"] = lambda: prune_weight(copies.pop(), magnitude, "w", in_place=True)
    if backend() != "cpu":
        k = int(weight.shape[1] * SPARSITY)
        found["wanda, portable"] = lambda: mx.eval(select_portable.prune_rows(weight, scale, k))
        found["magnitude, portable"] = lambda: mx.eval(
            select_portable.prune_matrix(weight, int(weight.size * SPARSITY))
        )
        if check.usable():
            found["wanda, kernel"] = lambda: mx.eval(launch.prune_rows(weight, scale, k))
            found["magnitude, kernel"] = lambda: mx.eval(
                launch.prune_matrix(weight, int(weight.size * SPARSITY))
            )
    return found


def row(name: str, time: Timing, peer: Timing | None, peer_name: str, copy: Timing, nbytes: int) -> list[str]:
    against = f"{peer.wall / time.wall:.1f} x {peer_name}" if peer else ""
    return [
        name,
        f"{1000 * time.wall:.1f}",
        f"{1000 * time.cpu:.1f}",
        against,
        f"{2 * nbytes / time.wall / 1e9:.2f}",
        f"{100 * copy.wall / time.wall:.0f} %",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    for dtype in (mx.bfloat16, mx.float32):
        weight = mx.random.normal((arguments.size, arguments.size), key=mx.random.key(0)).astype(dtype)
        scale = mx.random.uniform(0.5, 2, (arguments.size,), key=mx.random.key(1))
        mx.eval(weight, scale)
        times = interleaved(contenders(weight, scale, arguments.rounds), arguments.rounds)
        peers = {"wanda": "argsort", "magnitude": "sort"}
        rows = []
        for name, time in times.items():
            peer = peers.get(name.split(",")[0])
            rows.append(
                row(name, time, times[peer] if peer else None, peer or "", times["copy"], weight.nbytes)
            )
        for kernel in ("Metal", "CUDA"):
            if backend() != kernel.lower():
                rows.append([f"{kernel} kernels", "not measured (no such GPU)", "", "", "", ""])
        table(
            f"Selection at 50 % on a {arguments.size} x {arguments.size} matrix, {dtype}",
            ["", "ms (best)", "CPU ms", "faster than", "GB/s", "of a copy's speed"],
            rows,
        )


if __name__ == "__main__":
    main()
