"""Write a checkpoint with narrower blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from typing import Any

from mlx.utils import tree_flatten

from mlx_prune.checkpoint import dimensions as configuration
from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.checkpoint.writer import plan
from mlx_prune.errors import RecipeError
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.masking import Stopwatch
from mlx_prune.pruning.saving import check_space
from mlx_prune.pruning.structure.cuts import BlockCuts, Indices, cut_shapes, group_cuts, neuron_cuts
from mlx_prune.pruning.structure.recipe import StructuredRecipe
from mlx_prune.pruning.structure.source import CalibrationPass, Written
from mlx_prune.pruning.structure.tensors import SourceTensors, block_names, layout_for_cuts
from mlx_prune.pruning.structure.transformers_config import check_readable
from mlx_prune.pruning.structure.width import WidthJob

_UNITS = {"mlp": "neurons", "heads": "groups"}


def narrow(
    source: OnDisk,
    recipe: StructuredRecipe,
    folder: OutputFolder,
    *,
    calibration: CalibrationPass | None,
    watch: Stopwatch,
    progress: ProgressCallback,
) -> Written:
    """Remove neurons or key-value groups from every block, and write the weights.

    Args:
        source: The model.
        recipe: What to remove.
        folder: Where the weight files go.
        calibration: The text; None where the recipe measures nothing.
        watch: Gets the seconds.
        progress: Told after each block.

    Returns:
        What was written.

    Raises:
        RecipeError: The model's configuration cannot say what would be left.
        CheckpointError: The disk is too small; activations are not finite.
    """
    config, per_block, kept = _planned(source, recipe)
    shapes = {name: tuple(values.shape) for name, values in tree_flatten(source.network.parameters())}
    parts = [part for block in per_block for part in block]
    names = {name for part in parts for name in part.cuts}
    prefixes = block_names(source.checkpoint.shards, source.network, source.linears)
    layout = layout_for_cuts(source.checkpoint.shards, {name: shapes[name] for name in names}, prefixes)
    tensors = SourceTensors(source.checkpoint, layout, prefixes)
    narrowed = cut_shapes(shapes, parts, kept)
    with watch.timing("write"):
        values = tensors.laid_out({name: narrowed[name] for name in names})
        writer = plan(folder.partial, "mlx", source.checkpoint.shards, values)
        check_space(writer.nbytes, folder)
        writer.create({tensors.stored(name): prod(narrowed[name]) for name in names}, values)
    with watch.timing("calibrate"):
        steps = None if calibration is None else calibration.steps(source.network)
    job = WidthJob(
        network=source.network,
        linears=source.linears,
        cuts=per_block,
        kept=kept,
        recipe=recipe,
        tensors=tensors,
        writer=writer,
        steps=steps,
        watch=watch,
    )
    job.run(progress)
    if calibration is not None:
        calibration.forget()
    columns: dict[str, Indices] = {}
    for kind, chosen in job.chosen.items():
        for part, units in zip((p for p in parts if p.kind == kind), chosen, strict=True):
            columns[part.consumer] = part.cuts[f"{part.consumer}.weight"].kept(units)
    repair = None
    if recipe.repair:
        repair = {_UNITS[kind]: [asdict(error) for error in found] for kind, found in job.errors.items()}
    removed = _removed(per_block[0], kept, job.chosen)
    return Written(config, list(range(len(per_block))), columns, removed, repair, layout)


def _planned(
    source: OnDisk, recipe: StructuredRecipe
) -> tuple[dict[str, Any], list[list[BlockCuts]], dict[str, int]]:
    """The new configuration, the cuts of each block in order, and the units kept by kind."""
    config = source.checkpoint.config
    kept: dict[str, int] = {}
    found: list[list[BlockCuts]] = []
    if recipe.cuts_heads:
        heads = configuration.heads_of(config)
        kept["heads"] = recipe.kept_groups(heads[1])
        fewer = configuration.build(configuration.with_groups(source.checkpoint.config, kept["heads"]))
        found.append(group_cuts(source.network, fewer, heads, kept["heads"]))
        config = configuration.with_groups(config, kept["heads"])
    if recipe.cuts_neurons:
        neurons = configuration.neurons_of(config)
        kept["mlp"] = recipe.kept_neurons(neurons)
        narrower = configuration.build(configuration.with_neurons(source.checkpoint.config, kept["mlp"]))
        found.append(neuron_cuts(source.network, narrower, neurons, kept["mlp"]))
        config = configuration.with_neurons(config, kept["mlp"])
    per_block = [list(parts) for parts in zip(*found, strict=True)]
    if any(
        len({name for part in block for name in part.cuts}) < sum(len(part.cuts) for part in block)
        for block in per_block
    ):
        raise RecipeError(
            "Heads and neurons of this model lie in the same matrices; remove one of the two only."
        )
    check_readable(source.checkpoint.config, config)
    return config, per_block, kept


def _removed(
    parts: list[BlockCuts], kept: Mapping[str, int], chosen: Mapping[str, list[Indices]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        entry: dict[str, Any] = {"before": part.count, "after": kept[part.kind]}
        if part.kind == "heads":
            entry["removed"] = [
                [group for group in range(part.count) if group not in units] for units in chosen["heads"]
            ]
        found[_UNITS[part.kind]] = entry
    return found
