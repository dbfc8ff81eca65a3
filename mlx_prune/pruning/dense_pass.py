"""What the dense network says of its blocks, read from disk one block at a time before any is pruned."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlx.core as mx

from mlx_prune.activations.cache import StatisticsCache
from mlx_prune.activations.embeddings import embeddings_from_disk
from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import square_sums
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.checkpoint.matrices import blocks, in_memory
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.methods.base import AllocationRule
from mlx_prune.pruning.recipe import Recipe


class DensePass:
    """One pass over the blocks of a model whose weights lie on disk."""

    def __init__(
        self, model: OnDisk, data: CalibrationTokens, *, folder: Path, hidden_limit: int, cache: bool
    ) -> None:
        """Nothing is read yet.

        Args:
            model: Its weights are gone after the pass.
            data: The calibration sequences.
            folder: Where hidden states go, if they go to disk.
            hidden_limit: Hidden states above this many bytes do.
            cache: Look for statistics measured before, and keep those measured now.
        """
        self._model = model
        self._data = data
        self._states_folder = folder / "dense-pass"
        self._hidden_limit = hidden_limit
        self._cached = cache

    def measure(self, rule: AllocationRule, recipe: Recipe, progress: ProgressCallback) -> list[float]:
        """What a rule of allocation finds in each block.

        Args:
            rule: That of the recipe.
            recipe: Says which matrices count.
            progress: Told after each block, stage "calibrate".
        """
        network, linears = self._model.network, self._model.linears
        steps = BlockSteps(network, linears, self._data, config=self._model.checkpoint.config)
        cache = None
        if self._cached:
            cache = StatisticsCache(self._model, self._data, batch_size=steps.batch_size)
        sums = cache.dense() if cache is not None else {}
        measure = any(linear.name not in sums for linear in linears)
        if measure:
            self._begin(steps, linears[0].in_features)
        found: list[float] = []
        for index, block in enumerate(blocks(network)):
            with in_memory(block):
                if measure:
                    sums |= steps.watch(index, measure=square_sums, advance=index + 1 < steps.count)
                inside = [linear for linear in linears if linear.block == index]
                found.append(rule.of_block(recipe, inside, sums))
            progress(Progress("calibrate", index + 1, steps.count, f"block {index}"))
        if cache is not None and measure:
            cache.store_dense(sums)
        if self._states_folder.exists():
            shutil.rmtree(self._states_folder)
        return found

    def _begin(self, steps: BlockSteps, width: int) -> None:
        hidden_bytes = int(self._data.tokens.size) * width * getattr(mx, self._model.compute).size
        on_disk = hidden_bytes > self._hidden_limit
        if self._states_folder.exists():  # of an attempt that was killed
            shutil.rmtree(self._states_folder)
        if on_disk:
            self._states_folder.mkdir()
        folder = self._states_folder if on_disk else None
        states = HiddenStates(len(steps.batches), folder=folder, on_disk=on_disk)
        with embeddings_from_disk(self._model.network, self._model.checkpoint.shards):
            steps.begin(states)
