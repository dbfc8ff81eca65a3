"""Quantized weights stay as they are: what is learned lies beside them, as adapters that mlx-lm loads.

Merged into the weights and quantized again, part of what was learned would be rounded away, and the zeros of
a mask would be filled.
"""

from __future__ import annotations

import shutil

import mlx.core as mx
import mlx.nn as nn

from mlx_prune.checkpoint.adapters import write_adapters
from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.matrices import block_modules
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.shards import INDEX_FILE
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.kernels.zeroing import all_finite
from mlx_prune.pruning.saving import add_side_files
from mlx_prune.recovery.layers import SCALE
from mlx_prune.recovery.settings import LEAST_SQUARES, Recovery


def check_beside(settings: Recovery, student: Checkpoint) -> None:
    """Refuse what would change the weights of a quantized model.

    Raises:
        RecipeError: The settings ask for it.
    """
    asked = {"--full": settings.full, f"--first-step {LEAST_SQUARES}": settings.first_step == LEAST_SQUARES}
    for name in (name for name, given in asked.items() if given):
        raise RecipeError(
            f"{name} changes weights, and those of {student.path} are quantized; leave it out, or recover "
            "the checkpoint that it was quantized from."
        )


def write_beside(
    source: Checkpoint, folder: OutputFolder, network: nn.Module, layers: dict[str, nn.Module]
) -> int:
    """Copy a quantized model, and write what was learned beside it.

    Args:
        source: The quantized model.
        folder: Where everything goes.
        network: The network that was trained.
        layers: Its low-rank layers by path.

    Returns:
        Bytes of the adapters' file.

    Raises:
        CheckpointError: What was learned is not finite, or the disk is too small.
    """
    for name, layer in layers.items():
        if not all_finite(mx.concatenate([layer.lora_a.flatten(), layer.lora_b.flatten()])):
            raise CheckpointError(
                f"The adapter of {name} has become infinite or not a number in training; try a smaller "
                "--learning-rate or --dtype float32."
            )
    folder.check_space(source.shards.nbytes)
    for file in source.shards.files:
        shutil.copyfile(file, folder.partial / file.name)
    if (source.path / INDEX_FILE).is_file():
        shutil.copyfile(source.path / INDEX_FILE, folder.partial / INDEX_FILE)
    add_side_files(folder, source)
    inside = (projection for _, name, projection, _ in block_modules(network) if name in layers)
    return write_adapters(folder.partial, network, layers, inside, SCALE)
