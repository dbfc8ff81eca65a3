"""One streamed prune: what it holds, and the state on disk from which it carries on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_prune.activations.cache import StatisticsCache
from mlx_prune.activations.embeddings import embeddings_from_disk
from mlx_prune.activations.hidden import HiddenStates, saved_blocks
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import SquareSums
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.layout import Layout, Originals
from mlx_prune.checkpoint.matrices import (
    PrunableLinear,
    blocks,
    bring_in,
    in_memory,
    let_go,
    other_projections,
)
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.checkpoint.writer import CheckpointWriter
from mlx_prune.environment import device, versions
from mlx_prune.kernels.choice import KernelRecord
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.masking import Measuring, Stopwatch, peak_rss_bytes, prune_blocks
from mlx_prune.pruning.methods.base import SQUARE_SUMS, Allocation, AllocationRule
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.report import MatrixZeros, PruneReport
from mlx_prune.pruning.saving import check_space, finish
from mlx_prune.store import write_json

STATE_FILE = "prune-state.json"


class StreamedPrune:
    """Prunes from the source's files into an output folder; the engine's ``Weights``."""

    private = True

    def __init__(
        self,
        model: OnDisk,
        recipe: Recipe,
        *,
        folder: OutputFolder,
        writer: CheckpointWriter,
        layout: Layout,
        stored: dict[str, mx.array],
        fingerprint: str,
        kernels: KernelRecord,
    ) -> None:
        """Nothing is read or written yet.

        Args:
            model: What is pruned.
            recipe: How.
            folder: Held for this process.
            writer: Of the folder's weight files.
            layout: Where they hold the prunable matrices.
            stored: All weights by mlx-lm's names, lazy, if the writer's layout is "mlx"; else empty.
            fingerprint: Of recipe and source; state of another fingerprint is not used.
            kernels: Open record of what computes.
        """
        self._model = model
        self._folder = folder
        self._writer = writer
        self._layout = layout
        self._originals = Originals(layout, model.checkpoint.shards, stored)
        self._stored = stored
        self._network = model.network
        self._linears = model.linears
        self._blocks = blocks(model.network)
        self._recipe = recipe
        self._fingerprint = fingerprint
        self._kernels = kernels
        self._left_out = other_projections(model.network)
        self._watch = Stopwatch()
        self._seconds_before: dict[str, float] = {}
        self._zeros: list[int] = []
        self._unseen: set[str] = set()
        self._done = 0
        self._steps: BlockSteps | None = None
        self._outliers: list[float] | None = None
        self._allocation: Allocation | None = None
        self._described: dict[str, Any] | None = None
        self._cache: StatisticsCache | None = None
        self._known: dict[str, SquareSums] = {}
        self._measured: dict[str, SquareSums] = {}

    def prepare(self, *, force: bool) -> None:
        """Take up the state of an earlier attempt, or lay out the files with all that is not pruned."""
        mx.reset_peak_memory()
        if not force and self._resume():
            return
        self._folder.restart()
        check_space(self._writer.nbytes, self._folder)
        rewritten = self._layout.rewritten(filter(self._touches, self._linears))
        self._writer.create(rewritten, self._stored)
        self._record()

    def allocate(self, rule: AllocationRule, measure: Callable[[], list[float]]) -> None:
        """Give every matrix its sparsity.

        Args:
            rule: That of the recipe.
            measure: Finds what the rule looks for in each block, unless an earlier attempt has.
        """
        if self._outliers is None:
            with self._watch.timing("calibrate"):
                self._outliers = measure()
            self._record()
        self._allocation = rule.allocate(self._recipe, self._linears, self._outliers)

    def calibrate_on(self, data: CalibrationTokens, *, hidden_limit: int, cache: bool) -> None:
        """Bring the hidden states to the first block that is still to be pruned, unless none are needed.

        Args:
            data: Calibration sequences.
            hidden_limit: Hidden states above this many bytes are kept on disk.
            cache: Look for statistics measured before, and keep those measured now.
        """
        with self._watch.timing("calibrate"):
            steps = BlockSteps(self._network, self._linears, data, config=self._model.checkpoint.config)
            self._described = {**data.describe(), "batch_size": steps.batch_size}
            if cache and self._recipe.mask.statistic == SQUARE_SUMS:
                self._cache = StatisticsCache(self._model, data, batch_size=steps.batch_size)
                if self._recipe.statistics == "dense":
                    self._known = self._cache.dense()
                else:
                    first = {linear.name for linear in self._linears if linear.block == 0}
                    self._known = self._cache.first_block(first)
            if any(linear.name not in self._known for linear in self._linears):
                self._steps = steps
                self._begin(steps, int(data.tokens.size), hidden_limit)

    def run(self, progress: ProgressCallback) -> PruneReport:
        """Prune the blocks that are left, and let the folder appear."""
        prune_blocks(
            self._linears,
            self._recipe,
            self,
            Measuring(self._steps, self._known, self._keep, self._watch),
            start=self._done,
            allocation=self._allocation,
            progress=progress,
        )
        if self._cache is not None and len(self._measured) == len(self._linears):
            self._cache.store_dense(self._measured)
        seconds = self._seconds()
        zeros = tuple(
            MatrixZeros.of(linear, count, unseen=linear.name in self._unseen)
            for linear, count in zip(self._linears, self._zeros, strict=True)
        )
        report = PruneReport(
            model=self._model.checkpoint.name,
            recipe=self._recipe,
            matrices=zeros,
            prune_time_s=round(sum(seconds.values()), 3),
            calibration_time_s=round(seconds.get("calibrate", 0.0), 3),
            peak_memory_bytes=mx.get_peak_memory(),
            peak_rss_bytes=peak_rss_bytes(),
            dtype=self._model.compute,
            calibration=self._described,
            versions=versions(),
            device=dict(device()),
            fingerprint=self._fingerprint,
            left_out=self._left_out,
            allocation=None if self._allocation is None else dict(self._allocation.record),
            kernels=self._kernels.to_json(),
        )
        for states in self._folder.partial.glob("hidden-*"):
            shutil.rmtree(states)
        (self._folder.partial / STATE_FILE).unlink()
        return finish(self._folder, self._writer, self._model.checkpoint, report)

    def enter(self, block: int) -> None:
        """Bring the block's weights into memory, one after the other."""
        if self._steps is not None:
            bring_in(self._blocks[block])

    def original(self, linear: PrunableLinear) -> mx.array:
        """The weight in its stored type, read from the source."""
        if self._layout.name == "source" or self._touches(linear):
            return self._originals.read(linear)
        return self._written(linear)

    def pruned(self, linear: PrunableLinear, weight: mx.array) -> None:
        """Write it to its place, and let the block run with it."""
        self._writer.write_part(self._layout.places[linear.name], weight)
        if self._steps is not None:
            linear.set_weight(weight)

    def leave(self, block: int, zeros: list[MatrixZeros]) -> None:
        """Record the block as done and let its memory go."""
        self._zeros += [matrix.zeros for matrix in zeros]
        self._unseen |= {matrix.name for matrix in zeros if matrix.unseen}
        self._done = block + 1
        self._record()
        let_go(self._blocks[block])
        if self._steps is not None:
            self._steps.states.forget_before(self._done)

    def _keep(self, block: int, sums: dict[str, SquareSums]) -> None:
        if self._cache is not None and self._recipe.statistics == "dense":
            self._measured.update(sums)
        elif self._cache is not None and block == 0:
            self._cache.store_first_block(sums)

    def _begin(self, steps: BlockSteps, tokens: int, hidden_limit: int) -> None:
        partial = self._folder.partial
        hidden_bytes = tokens * self._linears[0].in_features * getattr(mx, self._model.compute).size
        states = HiddenStates(len(steps.batches), folder=partial, on_disk=hidden_bytes > hidden_limit)
        saved = [block for block in saved_blocks(partial) if block <= self._done]
        with embeddings_from_disk(self._network, self._model.checkpoint.shards):
            steps.begin(states, filled=bool(saved))
        if saved:
            states.restore(saved[-1])
        # Blocks pruned before a kill, after the last states on disk: run again, not measured again.
        for block in range(states.block, min(self._done, steps.count - 1)):
            with in_memory(self._blocks[block]):
                for linear in self._linears:
                    if (
                        linear.block == block
                        and self._recipe.statistics == "sequential"
                        and self._touches(linear)
                    ):
                        linear.set_weight(self._written(linear))
                steps.advance(block)

    def _written(self, linear: PrunableLinear) -> mx.array:
        shape = (linear.out_features, linear.in_features)
        return self._writer.read_part(self._layout.places[linear.name], shape)

    def _touches(self, linear: PrunableLinear) -> bool:
        return self._recipe.prunes(linear.projection)

    def _seconds(self) -> dict[str, float]:
        parts = set(self._seconds_before) | set(self._watch.seconds)
        return {part: self._seconds_before.get(part, 0.0) + self._watch.get(part) for part in parts}

    def _record(self) -> None:
        state = {
            "fingerprint": self._fingerprint,
            "blocks_done": self._done,
            "zeros": self._zeros,
            "unseen": sorted(self._unseen),
            "seconds": self._seconds(),
            "outliers": self._outliers,
            "kernels": self._kernels.to_json(),
        }
        write_json(self._folder.partial / STATE_FILE, state)

    def _resume(self) -> bool:
        file = self._folder.partial / STATE_FILE
        if not file.is_file():
            return False
        state = json.loads(file.read_text(encoding="utf-8"))
        if state.get("fingerprint") != self._fingerprint:
            return False
        self._done = int(state["blocks_done"])
        self._zeros = list(state["zeros"])
        self._unseen = set(state.get("unseen", ()))
        self._seconds_before = dict(state["seconds"])
        self._outliers = state.get("outliers")
        self._kernels.add(state.get("kernels", {}))
        return True
