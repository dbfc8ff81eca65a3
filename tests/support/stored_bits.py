"""Tensors of a checkpoint, bit by bit or as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.checkpoint.shards import Shards, open_shards
from mlx_prune.dtypes import UNSIGNED, WIDTHS


def read_bits(shards: Shards, name: str) -> np.ndarray[Any, Any]:
    """One tensor as unsigned integers of its width, in its shape."""
    info = shards.tensors[name]
    width = WIDTHS[info.dtype]
    values = np.fromfile(info.file, UNSIGNED[width], count=info.nbytes // width, offset=info.offset)
    return values.reshape(info.shape)


def stored_values(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """All tensors of a folder as float32, by name."""
    shards = open_shards(folder)
    return {name: np.array(a.astype(mx.float32)) for name, a in shards.load(shards.tensors).items()}
