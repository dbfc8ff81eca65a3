"""What the parts of a structured prune hand to each other: the model, the calibration pass, the outcome."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.nn as nn

from mlx_prune.checkpoints import PrunableLinear
from mlx_prune.pruning.calibration import BlockSteps
from mlx_prune.pruning.calibration_text import CalibrationTokens
from mlx_prune.pruning.embeddings import embeddings_from_disk
from mlx_prune.pruning.folder import OutputFolder
from mlx_prune.pruning.hidden import HiddenStates
from mlx_prune.pruning.structured.cuts import Indices
from mlx_prune.shards import Shards


@dataclass(frozen=True)
class Source:
    """The model that is made smaller.

    Attributes:
        name: What the user called it.
        path: Its folder.
        shards: Its weight files.
        network: The model, its weights lazy, in the compute type.
        config: Its config.json, as stored.
        linears: Its prunable linears.
        compute: The compute type.
        trust_remote_code: Run Python files of the checkpoint.
    """

    name: str
    path: Path
    shards: Shards
    network: nn.Module
    config: dict[str, Any]
    linears: list[PrunableLinear]
    compute: str
    trust_remote_code: bool


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


def calibration_steps(
    source: Source, data: CalibrationTokens, folder: OutputFolder, hidden_limit: int
) -> BlockSteps:
    """The calibration pass, its states at block 0.

    Args:
        source: The model.
        data: The token sequences.
        folder: Where hidden states go if they are kept on disk.
        hidden_limit: In bytes; above it they are.
    """
    steps = BlockSteps(source.network, source.linears, data, config=source.config)
    item = source.linears[0].weight.dtype.size
    on_disk = data.tokens.size * source.linears[0].in_features * item > hidden_limit
    states = HiddenStates(len(steps.batches), folder=folder.partial if on_disk else None, on_disk=on_disk)
    with embeddings_from_disk(source.network, source.shards):
        steps.begin(states)
    return steps


def forget_states(folder: OutputFolder) -> None:
    """Delete the hidden states on disk."""
    for states in folder.partial.glob("hidden-*"):
        shutil.rmtree(states)
