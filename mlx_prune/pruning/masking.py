"""The loop over blocks that both ways of pruning share: calibrate, select, hand over, go on.

:func:`mlx_prune.pruning.prune` keeps the model in memory, ``prune_checkpoint`` streams it; they differ
only in where weights come from and go to.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import mlx.core as mx

from mlx_prune.activations.grams import gram_sums
from mlx_prune.activations.norms import SquareSums
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.methods.owl import Allocation
from mlx_prune.pruning.methods.sparsegpt import BlockUpdates
from mlx_prune.pruning.recipe import PAPER_LEFT_OUT, Recipe
from mlx_prune.pruning.report import MatrixZeros
from mlx_prune.pruning.selection import count_zeros, prune_weight


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


def prune_blocks(
    linears: list[PrunableLinear],
    recipe: Recipe,
    weights: Weights,
    *,
    steps: BlockSteps | None,
    known: Mapping[str, SquareSums],
    measured: Callable[[int, dict[str, SquareSums]], None],
    start: int,
    watch: Stopwatch,
    progress: ProgressCallback,
    allocation: Allocation | None = None,
    stored: Mapping[str, mx.Dtype] | None = None,
) -> list[MatrixZeros]:
    """Prune the blocks of a model from ``start`` on.

    Args:
        linears: All prunable linears, block by block.
        recipe: What to prune.
        weights: Where weights come from and go to.
        steps: The calibration pass, its states at block ``start``; None where none is needed.
        known: Wanda's sums already measured, by layer name. A block found here is not measured again.
        measured: Told Wanda's sums of each block that was measured.
        start: First block to prune.
        watch: Gets the seconds of "calibrate", "select" and "write".
        progress: Told after each block, stage "prune".
        allocation: Each matrix's own sparsity, if the recipe has them differ.
        stored: Types that changed weights are rounded to, by layer name, where they are not those of the
            originals.

    Returns:
        The zeros of every matrix from ``start`` on.
    """
    count = linears[-1].block + 1
    by_block: list[list[PrunableLinear]] = [[] for _ in range(count)]
    for linear in linears:
        by_block[linear.block].append(linear)
    found: list[MatrixZeros] = []
    for index in range(start, count):
        weights.enter(index)
        last = index + 1 == count
        sums: Mapping[str, SquareSums] = known
        updates: BlockUpdates | None = None
        unseen: set[str] = set()
        advanced = False
        if recipe.calibrated and any(linear.name not in known for linear in by_block[index]):
            assert steps is not None
            advanced = recipe.statistics == "dense" and not last
            with watch.timing("calibrate"):
                if recipe.method == "sparsegpt":
                    grams = steps.watch_with(gram_sums, index, advance=advanced)
                    unseen = {name for name, gram in grams.items() if gram.count == 0}
                    updates = BlockUpdates(grams)
                    del grams
                else:
                    sums = steps.watch(index, advance=advanced)
                    measured(index, dict(sums))
        unseen |= {name for name, entry in sums.items() if entry.count == 0}
        zeros = []
        for linear in by_block[index]:
            with watch.timing("select"):
                weight = weights.original(linear)
                if recipe.prunes(linear.projection):
                    own = recipe if allocation is None else allocation.recipe(recipe, linear.name)
                    if updates is not None:
                        changed = updates.prune(weight, own, linear.name)
                        weight = _rounded(changed, linear.name, weight.dtype, stored or {})
                    else:
                        scale = sums[linear.name].root_mean_square() if recipe.method == "wanda" else None
                        weight = prune_weight(weight, own, linear.name, scale, in_place=weights.private)
                zeros.append(MatrixZeros.of(linear, count_zeros(weight), unseen=linear.name in unseen))
            if recipe.prunes(linear.projection):
                with watch.timing("write"):
                    weights.pruned(linear, weight)
            del weight
        if steps is not None and not last and not advanced:
            with watch.timing("calibrate"):
                steps.advance(index)
        weights.leave(index, zeros)
        found += zeros
        progress(Progress("prune", index + 1, count, f"block {index}"))
    return found


def _rounded(weight: mx.array, name: str, original: mx.Dtype, stored: Mapping[str, mx.Dtype]) -> mx.array:
    """Changed weights as the checkpoint can hold them, in the type of the original."""
    kept = weight.astype(stored.get(name, original))
    # Back and forth once more: what the original's type cannot hold is not what would be run.
    result = kept.astype(original).astype(kept.dtype).astype(original)
    if not mx.isfinite(result).all().item():
        raise CheckpointError(
            f"The changed weights of {name} are too large for {str(kept.dtype).rpartition('.')[2]}; "
            "convert the checkpoint to bfloat16 or float32 first, or use Wanda."
        )
    return result


def check_fits(recipe: Recipe, linears: list[PrunableLinear]) -> None:
    """Refuse a recipe that would do nothing to this model, or not what its name says.

    Raises:
        RecipeError: Scope "paper" on a model without o_proj and down_proj.
    """
    if recipe.scope == "paper" and all(recipe.prunes(linear.projection) for linear in linears):
        raise RecipeError(
            f"Scope paper leaves out {' and '.join(PAPER_LEFT_OUT)}, which this model does not have; "
            "use scope blocks."
        )


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
