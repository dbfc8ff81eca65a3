"""Prune a model that is in memory."""

from __future__ import annotations

import time

import mlx.core as mx

from mlx_prune.checkpoints import LoadedModel, PrunableLinear, other_projections, prunable_linears
from mlx_prune.environment import device, versions
from mlx_prune.errors import RecipeError
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.calibration import ActivationStatistics, BlockSteps
from mlx_prune.pruning.calibration_text import calibration_tokens
from mlx_prune.pruning.engine import Stopwatch, check_fits, peak_rss_bytes, prune_blocks
from mlx_prune.pruning.hidden import HiddenStates
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.report import MatrixZeros, PruneReport


def prune(
    model: LoadedModel,
    recipe: Recipe,
    *,
    statistics: ActivationStatistics | None = None,
    progress: ProgressCallback | None = None,
) -> PruneReport:
    """Prune a model in memory, in place.

    Masks are decided on the weights as they are in memory: the checkpoint's own values, unless the model was
    loaded in a narrower type.

    Args:
        model: From :func:`mlx_prune.checkpoints.load`; its weights are replaced.
        recipe: What to prune.
        statistics: From :func:`mlx_prune.pruning.calibrate` on this model, dense, to be used
            instead of measuring again; for a Wanda recipe with ``statistics="dense"`` only.
        progress: Told after each block.

    Returns:
        What was done; sparsities are computed from the zeros.

    Raises:
        RecipeError: The recipe does not fit the model, or the statistics do not fit the recipe.
        CheckpointError: Weights are quantized or not finite, or activations overflow.
        DataError: The calibration text cannot be read or is too short.
    """
    linears = prunable_linears(model.model)
    check_fits(recipe, linears)
    started = time.perf_counter()
    watch = Stopwatch()
    mx.reset_peak_memory()
    steps, described = None, None
    if statistics is not None:
        if recipe.statistics != "dense" or any(linear.name not in statistics.sums for linear in linears):
            raise RecipeError(
                "Statistics measured beforehand serve only a Wanda recipe with dense statistics on the same "
                "model."
            )
        described = statistics.calibration
    elif recipe.method == "wanda":
        assert recipe.calibration is not None
        assert recipe.seed is not None
        with watch.timing("calibrate"):
            data = calibration_tokens(recipe.calibration, model.tokenizer, model.config, recipe.seed)
            steps = BlockSteps(model.model, linears, data, config=model.config)
            steps.begin(HiddenStates(len(steps.batches)))
        described = {**data.describe(), "batch_size": steps.batch_size}
    matrices = prune_blocks(
        linears,
        recipe,
        _InMemory(),
        steps=steps,
        known=statistics.sums if statistics is not None else {},
        measured=lambda _block, _sums: None,
        start=0,
        watch=watch,
        progress=progress or silent,
    )
    return PruneReport(
        model=model.name,
        recipe=recipe,
        matrices=tuple(matrices),
        prune_time_s=round(time.perf_counter() - started, 3),
        calibration_time_s=round(watch.get("calibrate"), 3),
        peak_memory_bytes=mx.get_peak_memory(),
        peak_rss_bytes=peak_rss_bytes(),
        dtype=model.dtype,
        calibration=described,
        versions=versions(),
        device=dict(device()),
        left_out=other_projections(model.model),
    )


class _InMemory:
    """The model itself holds the weights."""

    private = False

    def enter(self, block: int) -> None:
        """Nothing to load."""

    def original(self, linear: PrunableLinear) -> mx.array:
        """As it is in memory."""
        return linear.weight

    def pruned(self, linear: PrunableLinear, weight: mx.array) -> None:
        """Replace it."""
        linear.set_weight(weight)

    def leave(self, block: int, zeros: list[MatrixZeros]) -> None:
        """Nothing to let go."""
