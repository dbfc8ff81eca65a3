"""Low-rank adapters beside a checkpoint's weights, in the files that mlx-lm reads (``adapter_path``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import CheckpointError, one_line
from mlx_prune.store import complete_file, write_json

if TYPE_CHECKING:
    import mlx.nn as nn

ADAPTERS_FILE, ADAPTERS_CONFIG = "adapters.safetensors", "adapter_config.json"


def adapters_of(folder: Path) -> Path | None:
    """The adapters that a folder's record tells of; those that somebody else put there are not meant.

    Raises:
        CheckpointError: They are gone, or the record is damaged.
    """
    if not (folder / ADAPTERS_CONFIG).is_file():
        return None
    record = PruningRecord.find(folder)
    if record is None or record.recovery is None or record.recovery.adapter_bytes is None:
        return None
    file = folder / ADAPTERS_FILE
    if not file.is_file():
        raise CheckpointError(f"{file} is missing, which belongs to the quantized weights; copy it again.")
    return file


def add_adapters(network: nn.Module, folder: Path) -> None:
    """Put a folder's adapters on the layers of a network, as mlx-lm does.

    Raises:
        CheckpointError: They are damaged, or of another network.
    """
    from mlx_lm.tuner.utils import load_adapters

    try:
        load_adapters(network, str(folder))
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CheckpointError(
            f"The adapters in {folder} cannot be loaded ({one_line(error)}); copy the folder again."
        ) from error
    network.eval()


def write_adapters(
    folder: Path, network: nn.Module, layers: dict[str, nn.Module], projections: Iterable[str], scale: float
) -> int:
    """Write adapters of all blocks.

    Args:
        folder: Where they go.
        network: The network they are of.
        layers: mlx-lm's low-rank layers, of one rank, by their path in the network.
        projections: The paths inside a block that have one.
        scale: That the product of the factors is multiplied by.

    Returns:
        Bytes of their file.

    Raises:
        RecordsError: They cannot be written.
    """
    import mlx.core as mx

    from mlx_prune.checkpoint.matrices import blocks

    arrays = {
        f"{name}.{part}": getattr(layer, part)
        for name, layer in layers.items()
        for part in ("lora_a", "lora_b")
    }
    mx.eval(arrays)
    first = next(iter(layers.values()))
    rank = first.lora_b.shape[0] if first.lora_b.ndim == 2 else first.lora_b.shape[-1]
    with complete_file(folder / ADAPTERS_FILE) as opened:
        mx.save_safetensors(opened, arrays)
    write_json(
        folder / ADAPTERS_CONFIG,
        {
            "fine_tune_type": "lora",
            "num_layers": len(blocks(network)),
            "lora_parameters": {
                "rank": rank,
                "scale": scale,
                "dropout": 0.0,
                "keys": sorted(set(projections)),
            },
        },
    )
    return (folder / ADAPTERS_FILE).stat().st_size
