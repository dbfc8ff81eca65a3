"""Prune a model that is in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping

import mlx.core as mx

from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import ActivationStatistics, BlockSteps, calibrate
from mlx_prune.activations.statistics import SquareSums
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import PrunableLinear, other_projections, prunable_linears
from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
from mlx_prune.checkpoint.zeros import MatrixZeros
from mlx_prune.dtypes import FLOATS, mlx_type
from mlx_prune.errors import RecipeError
from mlx_prune.kernels import choice
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.allocation import Allocation, AllocationRule
from mlx_prune.pruning.mask_report import PruneReport
from mlx_prune.pruning.masking import Measuring, Stopwatch, check_fits, prune_blocks
from mlx_prune.pruning.recipe import Recipe, recipe_for_model
from mlx_prune.wired import wired_limit


def prune(
    model: LoadedModel,
    recipe: Recipe,
    *,
    statistics: ActivationStatistics | None = None,
    progress: ProgressCallback | None = None,
) -> PruneReport:
    """Prune a model in memory, in place.

    Masks are decided on the weights as they are in memory: the checkpoint's own values, unless the model was
    loaded in a narrower type. Weights that SparseGPT changes are rounded to the type that the checkpoint
    stores them in, so that what is measured in memory is what :func:`mlx_prune.save` writes.
    The model runs inside mlx-lm's wired limit.

    Args:
        model: From :func:`mlx_prune.checkpoint.open.load`; its weights are replaced.
        recipe: What to prune.
        statistics: From :func:`mlx_prune.calibrate` on this model, dense, to be used instead of
            measuring again; for a Wanda recipe with ``statistics="dense"``, and for an allocation.
        progress: Told after each block.

    Returns:
        What was done; sparsities are computed from the zeros.

    Raises:
        RecipeError: The recipe does not fit the model, or the statistics do not fit the recipe.
        CheckpointError: Weights are quantized or not finite, or activations overflow.
        DataError: The calibration text is not named, cannot be read or is too short.
    """
    with choice.recording() as kernels, wired_limit(model.model):
        return _prune(model, recipe, statistics, kernels, progress)


def _prune(
    model: LoadedModel,
    recipe: Recipe,
    statistics: ActivationStatistics | None,
    kernels: choice.KernelRecord,
    progress: ProgressCallback | None,
) -> PruneReport:
    """The work of :func:`prune`."""
    if statistics is None:
        recipe = recipe_for_model(recipe, model)
    linears = prunable_linears(model.model)
    check_fits(recipe, linears)
    started = time.perf_counter()
    watch = Stopwatch()
    mx.reset_peak_memory()
    if statistics is not None and (
        not (recipe.masks_from_dense or recipe.allocation)
        or any(linear.name not in statistics.sums for linear in linears)
    ):
        raise RecipeError(
            "Statistics measured beforehand serve only a Wanda recipe with dense statistics, or an "
            "allocation, on the same model."
        )
    allocation = None
    rule = recipe.allocation_rule
    if rule is not None:
        assert recipe.seed is not None
        with watch.timing("calibrate"):
            statistics = statistics or calibrate(
                model, recipe.calibration, seed=recipe.seed, progress=progress
            )
            allocation = _allocation(rule, recipe, linears, statistics.sums)
    if statistics is not None:
        kernels.add(statistics.kernels)
    steps, described = None, None
    known: Mapping[str, SquareSums] = {}
    if statistics is not None and recipe.masks_from_dense:
        known, described = statistics.sums, statistics.calibration
    elif recipe.calibrated:
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
        Measuring(steps, known, watch=watch),
        allocation=allocation,
        stored=_stored_types(model.checkpoint, linears) if recipe.mask.changes_weights else None,
        progress=progress or silent,
    )
    return PruneReport.measured(
        watch,
        kernels,
        time.perf_counter() - started,
        model=model.name,
        recipe=recipe,
        matrices=tuple(matrices),
        dtype=model.dtype,
        calibration=described,
        left_out=other_projections(model.model),
        allocation=None if allocation is None else dict(allocation.record),
    )


def _allocation(
    rule: AllocationRule, recipe: Recipe, linears: list[PrunableLinear], sums: Mapping[str, SquareSums]
) -> Allocation:
    """Sparsities by what the rule finds in the dense model."""
    blocks = range(linears[-1].block + 1)
    inside = [[linear for linear in linears if linear.block == index] for index in blocks]
    measured = [rule.of_block(recipe, block, sums) for block in inside]
    return rule.allocate(recipe, linears, measured)


def _stored_types(source: Checkpoint, linears: list[PrunableLinear]) -> dict[str, mx.Dtype]:
    """The type in which the checkpoint holds each matrix, by layer name."""
    infos = {linear.name: source.shards.tensors.get(f"{linear.name}.weight") for linear in linears}
    types = {
        name: mlx_type(info.dtype)
        for name, info in infos.items()
        if info is not None and info.dtype in FLOATS
    }
    if len(types) < len(linears):
        # Renamed, stacked or split by mlx-lm, whose own loading tells.
        types |= {linear.name: linear.dtype for linear in source.matrices()}
    return types


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
