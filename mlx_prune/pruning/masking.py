"""The loop over blocks that both ways of pruning share: calibrate, select, hand over, go on.

:func:`mlx_prune.prune` keeps the model in memory, ``prune_checkpoint`` streams it; they differ
only in where weights come from and go to.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import mlx.core as mx

from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import SquareSums
from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.checkpoint.zeros import MatrixZeros
from mlx_prune.errors import RecipeError
from mlx_prune.kernels.zeroing import count_zeros
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.allocation import Allocation
from mlx_prune.pruning.fields import SQUARE_SUMS
from mlx_prune.pruning.layers import check_rules
from mlx_prune.pruning.method import Matrix
from mlx_prune.pruning.recipe import Recipe


class Weights(Protocol):
    """Where weights come from and go to.

    Attributes:
        private: What ``original`` gives is used by nobody else, so its memory may be written over.
    """

    private: bool

    def enter(self, block: int) -> None:
        """Make a block ready to run."""

    def original(self, linear: PrunableLinear) -> mx.array:
        """The weight the mask is decided on."""

    def pruned(self, linear: PrunableLinear, weight: mx.array) -> None:
        """Take the pruned weight, and let the model run with it."""

    def leave(self, block: int, zeros: list[MatrixZeros]) -> None:
        """A block is finished; its memory may go."""


class Stopwatch:
    """Seconds spent in the parts of a job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the time until the exit to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

    def get(self, part: str) -> float:
        """Seconds of a part."""
        return self.seconds.get(part, 0.0)


@dataclass
class Measuring:
    """How the loop comes by what a method wants to know of the inputs.

    Attributes:
        steps: The calibration pass, its states at the first block; None where none is needed.
        known: Statistics measured already, by layer name. A block found here is not measured again.
        measured: Told the statistics of each block that was measured.
        watch: Gets the seconds of "calibrate", "select" and "write".
    """

    steps: BlockSteps | None = None
    known: Mapping[str, SquareSums] = field(default_factory=dict)
    measured: Callable[[int, dict[str, SquareSums]], None] = lambda _block, _sums: None
    watch: Stopwatch = field(default_factory=Stopwatch)


def prune_blocks(
    linears: list[PrunableLinear],
    recipe: Recipe,
    weights: Weights,
    measuring: Measuring,
    *,
    start: int = 0,
    allocation: Allocation | None = None,
    stored: Mapping[str, mx.Dtype] | None = None,
    progress: ProgressCallback,
) -> list[MatrixZeros]:
    """Prune the blocks of a model from ``start`` on.

    Args:
        linears: All prunable linears, block by block.
        recipe: What to prune.
        weights: Where weights come from and go to.
        measuring: Where statistics come from.
        start: First block to prune.
        allocation: Each matrix's own sparsity, if the recipe has them differ.
        stored: Types that changed weights are rounded to, by layer name, where they are not those of the
            originals.
        progress: Told before the first block and after each, stage "prune".

    Returns:
        The zeros of every matrix from ``start`` on.
    """
    count = linears[-1].block + 1
    by_block: list[list[PrunableLinear]] = [[] for _ in range(count)]
    for linear in linears:
        by_block[linear.block].append(linear)
    steps, watch = measuring.steps, measuring.watch
    found: list[MatrixZeros] = []
    progress(Progress("prune", start, count))
    for index in range(start, count):
        weights.enter(index)
        last = index + 1 == count
        inputs: Mapping[str, Any] = measuring.known
        advanced = False
        if recipe.calibrated and any(linear.name not in inputs for linear in by_block[index]):
            assert steps is not None
            advanced = recipe.statistics == "dense" and not last
            with watch.timing("calibrate"):
                inputs = steps.watch(index, measure=recipe.mask.measure(), advance=advanced)
                if recipe.mask.statistic == SQUARE_SUMS:
                    measuring.measured(index, dict(inputs))
        unseen = {name for name, entry in inputs.items() if entry.count == 0}
        prune = recipe.mask.in_block(inputs)
        del inputs  # what the method does not hold on to may go, matrix by matrix
        zeros = []
        for linear in by_block[index]:
            with watch.timing("select"):
                weight = weights.original(linear)
                if recipe.touches(linear):
                    own = (allocation.recipe if allocation else Recipe.of_matrix)(recipe, linear.name)
                    kept = (stored or {}).get(linear.name, weight.dtype)
                    weight = prune(weight, Matrix(linear.name, own, kept, in_place=weights.private))
                zeros.append(MatrixZeros.of(linear, count_zeros(weight), unseen=linear.name in unseen))
            if recipe.touches(linear):
                with watch.timing("write"):
                    weights.pruned(linear, weight)
            del weight
        del prune
        if steps is not None and not last and not advanced:
            with watch.timing("calibrate"):
                steps.advance(index)
        weights.leave(index, zeros)
        found += zeros
        progress(Progress("prune", index + 1, count, f"block {index}"))
    return found


def check_fits(recipe: Recipe, linears: list[PrunableLinear]) -> None:
    """Refuse a recipe that would do nothing to this model, or not what its name says.

    Raises:
        RecipeError: None of the matrices that its scope leaves out is there, or that a pattern names.
    """
    check_rules(recipe.rules, [linear.name for linear in linears])
    if recipe.left_out and all(recipe.prunes(linear.projection) for linear in linears):
        raise RecipeError(
            f"Scope {recipe.scope} leaves out {' and '.join(recipe.left_out)}, which this model does not "
            "have; use scope blocks."
        )


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
