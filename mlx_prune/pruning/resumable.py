"""One prune from folder to folder: what it holds, and the state on disk from which it carries on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_prune.activations.cache import StatisticsCache
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import SquareSums
from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.matrices import (
    PrunableLinear,
    blocks,
    bring_in,
    in_memory,
    let_go,
    other_projections,
)
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.checkpoint.pruned_files import PrunedFiles
from mlx_prune.checkpoint.zeros import MatrixZeros
from mlx_prune.kernels.choice import KernelRecord
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.allocation import Allocation, AllocationRule
from mlx_prune.pruning.calibration_pass import CalibrationPass
from mlx_prune.pruning.fields import SQUARE_SUMS
from mlx_prune.pruning.mask_report import PruneReport
from mlx_prune.pruning.masking import Measuring, Stopwatch, prune_blocks
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.saving import finish
from mlx_prune.store import write_json

STATE_FILE = "prune-state.json"


@dataclass
class _State:
    """What is done, as it lies on disk after every block.

    Attributes:
        fingerprint: Of recipe and source; state of another fingerprint is not used.
        blocks_done: Blocks that are pruned and written.
        zeros: Of each of their matrices.
        unseen: Matrices of experts that the text did not reach.
        seconds: Spent so far, by part.
        outliers: What a rule of allocation found in each block.
        kernels: What computed it.
    """

    fingerprint: str
    blocks_done: int = 0
    zeros: list[int] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    outliers: list[float] | None = None
    kernels: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def found(cls, folder: Path, fingerprint: str) -> _State | None:
        """That of an earlier attempt at the same, if there was one."""
        file = folder / STATE_FILE
        state = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return cls(**state) if state.get("fingerprint") == fingerprint else None


@dataclass
class ResumablePrune:
    """Prunes from the source's files into an output folder; the loop's ``Weights``.

    Attributes:
        model: What is pruned.
        recipe: How.
        folder: Held for this process.
        files: The weight files there.
        fingerprint: Of recipe and source.
        kernels: Open record of what computes.
    """

    model: OnDisk
    recipe: Recipe
    folder: OutputFolder
    files: PrunedFiles
    fingerprint: str
    kernels: KernelRecord
    private: bool = True

    def __post_init__(self) -> None:
        self._state = _State(self.fingerprint)
        self._watch = Stopwatch()
        self._blocks = blocks(self.model.network)
        self._left_out = other_projections(self.model.network)
        self._steps: BlockSteps | None = None
        self._allocation: Allocation | None = None
        self._described: dict[str, Any] | None = None
        self._cache: StatisticsCache | None = None
        self._known: dict[str, SquareSums] = {}
        self._measured: dict[str, SquareSums] = {}

    def prepare(self, *, force: bool) -> None:
        """Take up the state of an earlier attempt, or lay out the files with all that is not pruned."""
        mx.reset_peak_memory()
        found = None if force else _State.found(self.folder.partial, self.fingerprint)
        if found is not None:
            self._state = found
            self._watch.seconds = dict(found.seconds)
            self.kernels.add(found.kernels)
            return
        self.folder.restart()
        self.files.create(filter(self._touches, self.model.linears))
        self._record()

    def allocate(self, rule: AllocationRule, measure: Callable[[], list[float]]) -> None:
        """Give every matrix its sparsity.

        Args:
            rule: That of the recipe.
            measure: Finds what the rule looks for in each block, unless an earlier attempt has.
        """
        if self._state.outliers is None:
            with self._watch.timing("calibrate"):
                self._state.outliers = measure()
            self._record()
        self._allocation = rule.allocate(self.recipe, self.model.linears, self._state.outliers)

    def calibrate_on(self, text: CalibrationPass, *, cache: bool) -> None:
        """Bring the hidden states to the first block that is still to be pruned, unless none are needed.

        Args:
            text: The calibration text.
            cache: Look for statistics measured before, and keep those measured now.
        """
        linears = self.model.linears
        with self._watch.timing("calibrate"):
            steps = text.planned()
            self._described = text.described
            if cache and self.recipe.mask.statistic == SQUARE_SUMS:
                self._cache = StatisticsCache(self.model, text.data, batch_size=steps.batch_size)
                if self.recipe.statistics == "dense":
                    self._known = self._cache.dense()
                else:
                    self._known = self._cache.first_block({one.name for one in linears if one.block == 0})
            if any(linear.name not in self._known for linear in linears):
                self._steps = steps
                text.resume(steps, self._state.blocks_done)
                self._catch_up(steps)

    def run(self, progress: ProgressCallback) -> PruneReport:
        """Prune the blocks that are left, and let the folder appear."""
        linears, state = self.model.linears, self._state
        prune_blocks(
            linears,
            self.recipe,
            self,
            Measuring(self._steps, self._known, self._keep, self._watch),
            start=state.blocks_done,
            allocation=self._allocation,
            progress=progress,
        )
        if self._cache is not None and len(self._measured) == len(linears):
            self._cache.store_dense(self._measured)
        zeros = tuple(
            MatrixZeros.of(linear, count, unseen=linear.name in state.unseen)
            for linear, count in zip(linears, state.zeros, strict=True)
        )
        report = PruneReport.measured(
            self._watch,
            self.kernels,
            model=self.model.checkpoint.name,
            recipe=self.recipe,
            matrices=zeros,
            dtype=self.model.compute,
            calibration=self._described,
            fingerprint=self.fingerprint,
            left_out=self._left_out,
            allocation=None if self._allocation is None else dict(self._allocation.record),
        )
        for states in self.folder.partial.glob("hidden-*"):
            shutil.rmtree(states)
        (self.folder.partial / STATE_FILE).unlink()
        return finish(self.folder, self.files.layout, self.model.checkpoint, report)

    def enter(self, block: int) -> None:
        """Bring the block's weights into memory, one after the other."""
        if self._steps is not None:
            bring_in(self._blocks[block])

    def original(self, linear: PrunableLinear) -> mx.array:
        """The weight in its stored type, read from the source."""
        if self.files.layout == "source" or self._touches(linear):
            return self.files.original(linear)
        return self.files.written(linear)

    def pruned(self, linear: PrunableLinear, weight: mx.array) -> None:
        """Write it to its place, and let the block run with it."""
        self.files.write(linear, weight)
        if self._steps is not None:
            linear.set_weight(weight)

    def leave(self, block: int, zeros: list[MatrixZeros]) -> None:
        """Record the block as done and let its memory go."""
        self._state.zeros += [matrix.zeros for matrix in zeros]
        unseen = {matrix.name for matrix in zeros if matrix.unseen}
        self._state.unseen = sorted(unseen.union(self._state.unseen))
        self._state.blocks_done = block + 1
        self._record()
        let_go(self._blocks[block])
        if self._steps is not None:
            self._steps.states.forget_before(block + 1)

    def _keep(self, block: int, sums: dict[str, SquareSums]) -> None:
        if self._cache is not None and self.recipe.statistics == "dense":
            self._measured.update(sums)
        elif self._cache is not None and block == 0:
            self._cache.store_first_block(sums)

    def _catch_up(self, steps: BlockSteps) -> None:
        """Blocks pruned before a kill, after the last states on disk: run again, not measured again."""
        for block in range(steps.states.block, min(self._state.blocks_done, steps.count - 1)):
            with in_memory(self._blocks[block]):
                for linear in self.model.linears:
                    inside = linear.block == block and self._touches(linear)
                    if inside and self.recipe.statistics == "sequential":
                        linear.set_weight(self.files.written(linear))
                steps.advance(block)

    def _touches(self, linear: PrunableLinear) -> bool:
        return self.recipe.touches(linear)

    def _record(self) -> None:
        self._state.seconds, self._state.kernels = self._watch.seconds, self.kernels.to_json()
        write_json(self.folder.partial / STATE_FILE, asdict(self._state))
