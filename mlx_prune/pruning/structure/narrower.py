"""Write a checkpoint with narrower blocks: measure, score, cut, write, and go on with the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import GramSums, SquareSums, gram_sums, square_sums
from mlx_prune.checkpoint import dimensions as configuration
from mlx_prune.checkpoint.matrices import blocks, bring_in, let_go
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.checkpoint.writer import CheckpointWriter
from mlx_prune.errors import RecipeError
from mlx_prune.progress import Progress
from mlx_prune.pruning.structure.cuts import BlockCuts, Indices, cut_shapes, group_cuts, neuron_cuts
from mlx_prune.pruning.structure.least_squares import OutputError, corrected, output_error
from mlx_prune.pruning.structure.shrinking import Shrinking, Written
from mlx_prune.pruning.structure.tensors import SourceTensors, block_names, layout_for_cuts
from mlx_prune.pruning.structure.transformers_config import check_readable

if TYPE_CHECKING:
    from mlx_prune.pruning.structured_recipe import StructuredRecipe

Sums = GramSums | SquareSums
_UNITS = {"mlp": "neurons", "heads": "groups"}


@dataclass(frozen=True)
class _Plan:
    """What is cut: the smaller model's config, the cuts of each block in order, the units kept by kind."""

    config: dict[str, Any]
    cuts: list[list[BlockCuts]]
    kept: dict[str, int]


Choice = Callable[[Mapping[str, mx.array], BlockCuts, Sums | None, int], Indices]
"""Of the units of one cut, those that stay, ascending: from the block's parameters that are cut, where the
units lie in them, sums over the inputs of the projection that reads them (None where nothing is measured),
and how many stay."""


def write(job: Shrinking, choose: Choice) -> Written:
    """Remove neurons or key-value groups from every block, and write the weights.

    Args:
        job: The model, the recipe, the calibration text, and the folder.
        choose: Says which stay.

    Raises:
        RecipeError: The model's configuration cannot say what would be left.
        CheckpointError: The disk is too small; activations are not finite.
    """
    source, calibration = job.source, job.calibration
    plan = _planned(source, job.recipe)
    shapes = {name: tuple(values.shape) for name, values in tree_flatten(source.network.parameters())}
    parts = [part for block in plan.cuts for part in block]
    names = {name for part in parts for name in part.cuts}
    prefixes = block_names(source.checkpoint.shards, source.network, source.linears)
    layout = layout_for_cuts(source.checkpoint.shards, {name: shapes[name] for name in names}, prefixes)
    tensors = SourceTensors(source.checkpoint, layout, prefixes)
    narrowed = cut_shapes(shapes, parts, plan.kept)
    with job.watch.timing("write"):
        values = tensors.laid_out({name: narrowed[name] for name in names})
        writer = job.writer(values)
        writer.create({tensors.stored(name): prod(narrowed[name]) for name in names}, values)
    with job.watch.timing("calibrate"):
        steps = None if calibration is None else calibration.steps()
    done = _Narrowing(job, choose, plan, tensors, writer, steps)
    done.run()
    if calibration is not None:
        calibration.forget()
    columns: dict[str, Indices] = {}
    for kind, chosen in done.chosen.items():
        for part, units in zip((p for p in parts if p.kind == kind), chosen, strict=True):
            columns[part.consumer] = part.cuts[f"{part.consumer}.weight"].kept(units)
    repair = None
    if job.recipe.repair:
        repair = {_UNITS[kind]: [asdict(error) for error in found] for kind, found in done.errors.items()}
    removed = _removed(plan.cuts[0], plan.kept, done.chosen)
    return Written(plan.config, list(range(len(plan.cuts))), columns, removed, repair, layout)


def _planned(source: OnDisk, recipe: StructuredRecipe) -> _Plan:
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
    return _Plan(config, per_block, kept)


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


@dataclass
class _Narrowing:
    """Goes from block to block; holds one at a time.

    Attributes:
        job: The model and the recipe.
        choose: Says which units stay.
        plan: What is cut.
        tensors: The source's tensors.
        writer: Of the narrowed tensors.
        steps: The calibration pass, before block 0; None where nothing is measured.
        chosen: Units kept in each block, by kind.
        errors: How well the repaired projection of each block does, by kind.
    """

    job: Shrinking
    choose: Choice
    plan: _Plan
    tensors: SourceTensors
    writer: CheckpointWriter
    steps: BlockSteps | None
    chosen: dict[str, list[Indices]] = field(init=False)
    errors: dict[str, list[OutputError]] = field(init=False)

    def __post_init__(self) -> None:
        self._linears = {linear.name: linear for linear in self.job.source.linears}
        self.chosen = {kind: [] for kind in self.plan.kept}
        self.errors = {kind: [] for kind in self.plan.kept}

    def run(self) -> None:
        """Narrow all blocks; afterwards ``chosen`` and ``errors`` tell what was kept and how well."""
        count = len(self.plan.cuts)
        for index in range(count):
            last = index + 1 == count
            if self.steps is not None:
                bring_in(blocks(self.job.source.network)[index])
            # "dense": all is measured, and the outputs kept, before anything is cut.
            dense: dict[str, Sums] | None = None
            if self.steps is not None and self.job.recipe.statistics == "dense":
                consumers = [cut.consumer for cut in self.plan.cuts[index]]
                dense = self._measure(index, consumers, advance=not last)
            for cut in self.plan.cuts[index]:
                sums = dense
                if sums is None and self.steps is not None:
                    sums = self._measure(index, [cut.consumer], advance=False)
                self._narrow(cut, None if sums is None else sums[cut.consumer])
            if self.steps is not None and dense is None and not last:
                with self.job.watch.timing("calibrate"):
                    self.steps.advance(index)
            if self.steps is not None:
                self.steps.states.forget_before(index + 1)
            let_go(blocks(self.job.source.network)[index])
            self.job.progress(Progress("prune", index + 1, count, f"block {index}"))

    def _measure(self, index: int, consumers: list[str], *, advance: bool) -> dict[str, Sums]:
        assert self.steps is not None
        measure: Callable[[mx.array], Any] = gram_sums if self.job.recipe.repair else square_sums
        linears = [self._linears[name] for name in consumers]
        with self.job.watch.timing("calibrate"):
            found: dict[str, Sums] = self.steps.watch(
                index, measure=measure, advance=advance, linears=linears
            )
        return found

    def _narrow(self, cut: BlockCuts, sums: Sums | None) -> None:
        consumer = f"{cut.consumer}.weight"
        with self.job.watch.timing("select"):
            taken = self.tensors.take(map(self.tensors.stored, cut.cuts))
            parameters = {name: taken[self.tensors.stored(name)] for name in cut.cuts}
            del taken
            weight = parameters[consumer]
            chosen = self.choose(parameters, cut, sums, self.plan.kept[cut.kind])
            self.chosen[cut.kind].append(chosen)
            columns = cut.cuts[consumer].kept(chosen)
            narrowed = {name: part.take(parameters[name], chosen) for name, part in cut.cuts.items()}
            if self.job.recipe.repair:
                assert isinstance(sums, GramSums)
                narrowed[consumer] = corrected(weight, sums, columns)
                error = output_error(weight, sums, columns, narrowed[consumer])
                self.errors[cut.kind].append(error)
        with self.job.watch.timing("write"):
            for name, values in narrowed.items():
                self.writer.write(self.tensors.stored(name), mx.contiguous(values))
        if self.steps is not None:
            layer = self._linears[cut.consumer].module
            layer.weight = spread(narrowed[consumer].astype(layer.weight.dtype), columns, weight.shape[1])
            mx.eval(layer.weight)


def spread(narrow: mx.array, columns: Indices, width: int) -> mx.array:
    """Put columns back to their places among zeros: what the whole block computes with is then the same.

    Args:
        narrow: [rows, kept].
        columns: [kept] their places.
        width: Columns of the result.
    """
    whole = mx.zeros((narrow.shape[0], width), dtype=narrow.dtype)
    whole[:, mx.array(columns.astype(np.int32))] = narrow
    return whole
