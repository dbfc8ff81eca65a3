"""What the parts of a structured prune hand to each other: the calibration pass and the outcome."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.nn as nn

from mlx_prune.activations.embeddings import embeddings_from_disk
from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.pruning.structure.cuts import Indices


@dataclass(frozen=True)
class Written:
    """The weights of a smaller model, written.

    Attributes:
        config: Of the smaller model.
        kept: For each of its blocks, the index in the source.
        columns: Kept columns, by linear layer of the source that lost some.
        removed: For the report.
        repair: For the report.
        layout: "source" or "mlx".
    """

    config: dict[str, Any]
    kept: list[int]
    columns: dict[str, Indices]
    removed: dict[str, Any]
    repair: dict[str, Any] | None
    layout: str


class CalibrationPass:
    """The calibration text, ready to run through a model; hidden states on disk above a limit."""

    def __init__(
        self, source: OnDisk, data: CalibrationTokens, folder: OutputFolder, hidden_limit: int
    ) -> None:
        """Nothing runs yet.

        Args:
            source: The model.
            data: The token sequences.
            folder: Where hidden states go if they are kept on disk.
            hidden_limit: In bytes; above it they are.
        """
        self._source = source
        self._data = data
        self._folder = folder.partial
        item = source.linears[0].dtype.size
        self._on_disk = data.tokens.size * source.linears[0].in_features * item > hidden_limit
        self.described: dict[str, Any] = data.describe()

    def steps(self, network: nn.Module) -> BlockSteps:
        """Begin a pass over a model, its states at block 0.

        Args:
            network: The source's, or a fresh one of the same weights.
        """
        source = self._source
        linears = source.linears if network is source.network else prunable_linears(network)
        steps = BlockSteps(network, linears, self._data, config=source.checkpoint.config)
        self.described["batch_size"] = steps.batch_size
        with embeddings_from_disk(network, source.checkpoint.shards):
            steps.begin(self._states(self._folder, len(steps.batches)))
        return steps

    def copied(self, states: HiddenStates) -> HiddenStates:
        """Hidden states to come back to."""
        folder = self._folder / "hidden-copies"
        if self._on_disk:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        copy = self._states(folder, states.batches)
        for number in range(states.batches):
            copy.put(number, states.get(number))
        copy.start()
        return copy

    def forget(self) -> None:
        """Delete the hidden states on disk."""
        for states in self._folder.glob("hidden-*"):
            shutil.rmtree(states)

    def _states(self, folder: Path, batches: int) -> HiddenStates:
        return HiddenStates(batches, folder=folder if self._on_disk else None, on_disk=self._on_disk)
