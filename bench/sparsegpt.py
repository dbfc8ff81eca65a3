"""SparseGPT on one layer, against Wanda and against its published loop in plain NumPy: time and output error.

    python bench/sparsegpt.py [--size 1024] [--tokens 4096] [--rounds 3]

Inputs are correlated, as a network's are. Times begin with the sums over the calibration inputs, which have a
row of their own. The error is that of the layer's outputs on the calibration inputs, relative to the outputs,
with the same share of zeros for everybody.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)

# isort: split
import mlx.core as mx
import numpy as np
from _common import interleaved, table

from mlx_prune.activations.statistics import GramSums, gram_sums, square_sums
from mlx_prune.pruning.methods.sparsegpt import BLOCK_SIZE, DAMPING, inverse_factor, prune_with_updates
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.selection import prune_weight

TARGETS: dict[str, Recipe] = {
    "50 %": Recipe("sparsegpt", 0.5),
    "70 %": Recipe("sparsegpt", 0.7),
    "2:4": Recipe("sparsegpt", pattern="2:4"),
}


def layer(size: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """A square weight and [tokens, size] inputs: common directions (size / 8), noise, unequal scales."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((size // 8, size), dtype=np.float32)
    inputs = rng.standard_normal((tokens, size // 8), dtype=np.float32) @ directions / np.sqrt(size / 8)
    inputs += 0.5 * rng.standard_normal((tokens, size), dtype=np.float32)
    inputs *= rng.lognormal(0, 0.7, size).astype(np.float32)
    return rng.standard_normal((size, size), dtype=np.float32), inputs


def ours(weight: mx.array, gram: GramSums, recipe: Recipe) -> mx.array:
    """Factorization and updates."""
    return prune_with_updates(weight, inverse_factor(gram, "layer"), recipe, "layer")


def scored(weight: mx.array, scale: mx.array | None, recipe: Recipe, method: str) -> mx.array:
    """Wanda, or magnitude, with the same target."""
    same = Recipe(method, None if recipe.pattern else recipe.sparsity, pattern=recipe.pattern)
    pruned = prune_weight(weight, same, "layer", scale)
    mx.eval(pruned)
    return pruned


def plain(weight: np.ndarray, gram: np.ndarray, tokens: int, recipe: Recipe) -> np.ndarray:
    """The published loop in NumPy float32: invert, factor the inverse, one rank-one update per column."""
    w = weight.copy()
    columns = w.shape[1]
    hessian = 2 * gram / tokens
    hessian[np.diag_indices(columns)] += DAMPING * hessian.diagonal().mean()
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    for start in range(0, columns, BLOCK_SIZE):
        stop = min(start + BLOCK_SIZE, columns)
        block, factor = w[:, start:stop].copy(), upper[start:stop, start:stop]
        errors = np.zeros_like(block)
        mask = np.zeros(block.shape, dtype=bool)
        if recipe.groups is None:
            cost = block**2 / factor.diagonal() ** 2
            mask = cost <= np.sort(cost, axis=None)[int(cost.size * recipe.target_sparsity) - 1]
        for at in range(stop - start):
            if recipe.groups is not None and at % recipe.groups[1] == 0:
                keep, size = recipe.groups
                cost = block[:, at : at + size] ** 2 / factor.diagonal()[at : at + size] ** 2
                np.put_along_axis(
                    mask[:, at : at + size], np.argsort(cost, axis=1)[:, : size - keep], True, axis=1
                )
            kept = np.where(mask[:, at], 0, block[:, at])
            errors[:, at] = (block[:, at] - kept) / factor[at, at]
            block[:, at:] -= np.outer(errors[:, at], factor[at, at:])
            block[:, at] = kept
        w[:, start:stop] = block
        w[:, stop:] -= errors @ upper[start:stop, stop:]
    return w


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    weight, inputs = layer(arguments.size, arguments.tokens)
    w, x = mx.array(weight), mx.array(inputs)
    gram, scale = gram_sums(x), square_sums(x).root_mean_square()
    mx.eval(gram.sums, scale)
    numpy_gram = np.array(gram.sums)
    outputs = inputs @ weight.T

    def error(pruned: np.ndarray) -> str:
        return f"{np.linalg.norm(inputs @ pruned.T - outputs) / np.linalg.norm(outputs):.4f}"

    sums = interleaved(
        {
            "Gram matrix of the inputs": lambda: mx.eval(gram_sums(x).sums),
            "squares of the inputs": lambda: mx.eval(square_sums(x).sums),
        },
        arguments.rounds,
    )
    rows = [
        [name, f"{1000 * time.wall:.0f}", "", f"{1000 * time.cpu:.0f}", "", "", ""]
        for name, time in sums.items()
    ]
    for name, recipe in TARGETS.items():
        calls: dict[str, Callable[[], object]] = {
            "SparseGPT": partial(ours, w, gram, recipe),
            "published loop, NumPy": partial(plain, weight, numpy_gram, arguments.tokens, recipe),
            "Wanda": partial(scored, w, scale, recipe, "wanda"),
            "magnitude": partial(scored, w, None, recipe, "magnitude"),
        }
        times = interleaved(calls, arguments.rounds)
        reference = times["published loop, NumPy"]
        for contender, call in calls.items():
            pruned: np.ndarray = np.array(call())
            time = times[contender]
            rows.append(
                [
                    f"{name}, {contender}",
                    f"{1000 * time.wall:.0f}",
                    f"{reference.wall / time.wall:.1f}",
                    f"{1000 * time.cpu:.0f}",
                    f"{reference.cpu / time.cpu:.1f}",
                    f"{100 * np.mean(pruned == 0):.2f} %",
                    error(pruned),
                ]
            )
    table(
        f"SparseGPT on a {arguments.size} x {arguments.size} float32 matrix, {arguments.tokens} tokens",
        ["", "ms (best)", "x faster", "CPU ms", "x less", "zeros", "output error"],
        rows,
    )


if __name__ == "__main__":
    main()
