"""A tensor of a checkpoint, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_prune.checkpoint.shards import Shards
from mlx_prune.dtypes import UNSIGNED, WIDTHS


def read_bits(shards: Shards, name: str) -> np.ndarray[Any, Any]:
    """One tensor as unsigned integers of its width, in its shape."""
    info = shards.tensors[name]
    width = WIDTHS[info.dtype]
    values = np.fromfile(info.file, UNSIGNED[width], count=info.nbytes // width, offset=info.offset)
    return values.reshape(info.shape)
