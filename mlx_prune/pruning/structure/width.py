"""Narrow every block in turn: measure, score, cut, write, and go on with what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import GramSums, SquareSums, gram_sums, square_sums
from mlx_prune.checkpoint.matrices import PrunableLinear, blocks, bring_in, let_go
from mlx_prune.checkpoint.writer import CheckpointWriter
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.masking import Stopwatch
from mlx_prune.pruning.structure import scores
from mlx_prune.pruning.structure.cuts import BlockCuts, Indices
from mlx_prune.pruning.structure.recipe import StructuredRecipe
from mlx_prune.pruning.structure.repair import OutputError, corrected, output_error
from mlx_prune.pruning.structure.tensors import SourceTensors

Sums = GramSums | SquareSums


class WidthJob:
    """One prune of neurons or key-value groups; holds one block at a time."""

    def __init__(
        self,
        *,
        network: nn.Module,
        linears: list[PrunableLinear],
        cuts: list[list[BlockCuts]],
        kept: Mapping[str, int],
        recipe: StructuredRecipe,
        tensors: SourceTensors,
        writer: CheckpointWriter,
        steps: BlockSteps | None,
        watch: Stopwatch,
    ) -> None:
        """Nothing is read yet.

        Args:
            network: The model, its weights lazy, in the compute type.
            linears: Its prunable linears.
            cuts: What is cut from each block, in the order of the cuts.
            kept: Units kept per block, by kind.
            recipe: How units are chosen.
            tensors: The source's tensors.
            writer: Of the narrowed tensors.
            steps: The calibration pass, before block 0; None where nothing is measured.
            watch: Gets the seconds of "calibrate", "select" and "write".
        """
        self._network = network
        self._linears = {linear.name: linear for linear in linears}
        self._cuts = cuts
        self._kept = kept
        self._recipe = recipe
        self._tensors = tensors
        self._writer = writer
        self._steps = steps
        self._watch = watch
        self.chosen: dict[str, list[Indices]] = {kind: [] for kind in kept}
        self.errors: dict[str, list[OutputError]] = {kind: [] for kind in kept}

    def run(self, progress: ProgressCallback) -> None:
        """Narrow all blocks; afterwards ``chosen`` and ``errors`` tell what was kept and how well."""
        count = len(self._cuts)
        for index in range(count):
            last = index + 1 == count
            if self._steps is not None:
                bring_in(blocks(self._network)[index])
            # "dense": all is measured, and the outputs kept, before anything is cut.
            dense: dict[str, Sums] | None = None
            if self._steps is not None and self._recipe.statistics == "dense":
                consumers = [cut.consumer for cut in self._cuts[index]]
                dense = self._measure(index, consumers, advance=not last)
            for cut in self._cuts[index]:
                sums = dense
                if sums is None and self._steps is not None:
                    sums = self._measure(index, [cut.consumer], advance=False)
                self._narrow(cut, None if sums is None else sums[cut.consumer])
            if self._steps is not None and dense is None and not last:
                with self._watch.timing("calibrate"):
                    self._steps.advance(index)
            if self._steps is not None:
                self._steps.states.forget_before(index + 1)
            let_go(blocks(self._network)[index])
            progress(Progress("prune", index + 1, count, f"block {index}"))

    def _measure(self, index: int, consumers: list[str], *, advance: bool) -> dict[str, Sums]:
        assert self._steps is not None
        measure: Callable[[mx.array], Any] = gram_sums if self._recipe.repair else square_sums
        linears = [self._linears[name] for name in consumers]
        with self._watch.timing("calibrate"):
            found: dict[str, Sums] = self._steps.watch(
                index, measure=measure, advance=advance, linears=linears
            )
        return found

    def _narrow(self, cut: BlockCuts, sums: Sums | None) -> None:
        consumer = f"{cut.consumer}.weight"
        owners = cut.cuts[consumer].owners
        with self._watch.timing("select"):
            taken = self._tensors.take(map(self._tensors.stored, cut.cuts))
            parameters = {name: taken[self._tensors.stored(name)] for name in cut.cuts}
            del taken
            weight = parameters[consumer]
            if self._recipe.scores == "wanda":
                assert sums is not None
                found = scores.wanda_scores(weight, _root_mean_square(sums), owners, cut.count)
            else:
                found = scores.magnitude_scores(parameters, cut)
            chosen = scores.largest(found, self._kept[cut.kind])
            self.chosen[cut.kind].append(chosen)
            columns = cut.cuts[consumer].kept(chosen)
            narrowed = {name: part.take(parameters[name], chosen) for name, part in cut.cuts.items()}
            if self._recipe.repair:
                assert isinstance(sums, GramSums)
                narrowed[consumer] = corrected(weight, sums, columns)
                error = output_error(weight, sums, columns, narrowed[consumer])
                self.errors[cut.kind].append(error)
        with self._watch.timing("write"):
            for name, values in narrowed.items():
                self._writer.write(self._tensors.stored(name), mx.contiguous(values))
        if self._steps is not None:
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


def _root_mean_square(sums: Sums) -> mx.array:
    return mx.sqrt(mx.diag(sums.sums) / sums.count) if isinstance(sums, GramSums) else sums.root_mean_square()
