"""The calibration text, ready to run through a model whose weights lie on disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.nn as nn

from mlx_prune.activations.embeddings import embeddings_from_disk
from mlx_prune.activations.hidden import HiddenStates, saved_blocks
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears
from mlx_prune.checkpoint.open import OnDisk

HIDDEN_LIMIT = 4 << 30


@dataclass
class CalibrationPass:
    """Runs a text through a model, block by block; hidden states above a limit are kept on disk.

    Attributes:
        model: The model.
        data: The token sequences.
        folder: Where hidden states go if they are kept on disk; made if need be.
        hidden_limit: In bytes; above it they are.
        linears: The matrices that size its batches; None are the model's prunable ones.
        described: Source, sizes and hashes of the text, as recorded beside a result.
    """

    model: OnDisk
    data: CalibrationTokens
    folder: Path
    hidden_limit: int = HIDDEN_LIMIT
    linears: Sequence[PrunableLinear] | None = None
    described: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.described = self.data.describe()

    @property
    def on_disk(self) -> bool:
        """Whether the hidden states exceed the limit."""
        first = self._linears[0]
        return int(self.data.tokens.size) * first.in_features * first.dtype.size > self.hidden_limit

    @property
    def _linears(self) -> Sequence[PrunableLinear]:
        return self.model.linears if self.linears is None else self.linears

    def planned(self, network: nn.Module | None = None) -> BlockSteps:
        """The steps of a pass, not begun; through the model, or a fresh network of the same weights."""
        network = self.model.network if network is None else network
        linears = self._linears if network is self.model.network else prunable_linears(network)
        steps = BlockSteps(network, linears, self.data, config=self.model.checkpoint.config)
        self.described["batch_size"] = steps.batch_size
        return steps

    def begin(self, steps: BlockSteps, network: nn.Module | None = None) -> BlockSteps:
        """Begin a planned pass, its states at block 0."""
        network = self.model.network if network is None else network
        with embeddings_from_disk(network, self.model.checkpoint.shards):
            steps.begin(self._states(self.folder, len(steps.batches)))
        return steps

    def steps(self, network: nn.Module | None = None) -> BlockSteps:
        """Plan a pass and begin it."""
        return self.begin(self.planned(network), network)

    def resume(self, steps: BlockSteps, block: int) -> None:
        """Begin a pass at the newest states on disk that enter a block up to this one; snapshots are kept."""
        states = HiddenStates(len(steps.batches), folder=self.folder, on_disk=self.on_disk)
        saved = [found for found in saved_blocks(self.folder) if found <= block]
        with embeddings_from_disk(self.model.network, self.model.checkpoint.shards):
            steps.begin(states, filled=bool(saved))
        if saved:
            states.restore(saved[-1])

    def copied(self, states: HiddenStates) -> HiddenStates:
        """Hidden states to come back to."""
        folder = self.folder / "hidden-copies"
        shutil.rmtree(folder, ignore_errors=True)
        copy = self._states(folder, states.batches)
        for number in range(states.batches):
            copy.put(number, states.get(number))
        copy.start()
        return copy

    def forget(self) -> None:
        """Delete the hidden states on disk."""
        for states in self.folder.glob("hidden-*"):
            shutil.rmtree(states)

    def _states(self, folder: Path, batches: int) -> HiddenStates:
        if not self.on_disk:
            return HiddenStates(batches)
        folder.mkdir(exist_ok=True)
        return HiddenStates(batches, folder=folder, on_disk=True)
