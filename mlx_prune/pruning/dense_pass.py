"""What the dense network says of its blocks, read from disk one block at a time before any is pruned."""

from __future__ import annotations

import shutil

from mlx_prune.activations.cache import StatisticsCache
from mlx_prune.activations.statistics import square_sums
from mlx_prune.checkpoint.matrices import blocks, in_memory
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.allocation import AllocationRule
from mlx_prune.pruning.calibration_pass import CalibrationPass
from mlx_prune.pruning.recipe import Recipe


def measure_dense(
    text: CalibrationPass, rule: AllocationRule, recipe: Recipe, *, cache: bool, progress: ProgressCallback
) -> list[float]:
    """What a rule of allocation finds in each block.

    Args:
        text: Its model's weights are gone afterwards, and its folder, which is for this pass alone.
        rule: That of the recipe.
        recipe: Says which matrices count.
        cache: Look for statistics measured before, and keep those measured now.
        progress: Told before the first block that is measured and after each, stage "calibrate".
    """
    linears = text.model.linears
    shutil.rmtree(text.folder, ignore_errors=True)  # of an attempt that was killed
    steps = text.planned()
    kept = StatisticsCache(text.model, text.data, batch_size=steps.batch_size) if cache else None
    sums = kept.dense() if kept is not None else {}
    measure = any(linear.name not in sums for linear in linears)
    if measure:
        text.begin(steps)
        progress(Progress("calibrate", 0, steps.count))
    found: list[float] = []
    for index, block in enumerate(blocks(text.model.network)):
        with in_memory(block):
            if measure:
                sums |= steps.watch(index, measure=square_sums, advance=index + 1 < steps.count)
            inside = [linear for linear in linears if linear.block == index]
            found.append(rule.of_block(recipe, inside, sums))
        progress(Progress("calibrate", index + 1, steps.count, f"block {index}"))
    if kept is not None and measure:
        kept.store_dense(sums)
    shutil.rmtree(text.folder, ignore_errors=True)
    return found
