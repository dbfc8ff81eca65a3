"""A matrix inside a tensor of a safetensors file."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.checkpoint.shards import TensorInfo
from mlx_prune.dtypes import UNSIGNED, mlx_type


@dataclass(frozen=True)
class Place:
    """Where a matrix lies, its rows one after the other.

    Attributes:
        tensor: Name of the tensor that holds it.
        start: Weights of the tensor that come before it.
    """

    tensor: str
    start: int = 0


def read_part(info: TensorInfo, start: int, shape: tuple[int, ...]) -> mx.array:
    """Read a run of one tensor's weights from its file.

    Args:
        info: A tensor of floats.
        start: Weights to leave out before it.
        shape: Of the result.

    Returns:
        A fresh array of the stored type.
    """
    dtype = mlx_type(info.dtype)
    bits: np.ndarray[Any, Any] = np.fromfile(
        info.file,
        dtype=UNSIGNED[dtype.size],
        count=prod(shape),
        offset=info.offset + start * dtype.size,
    )
    return mx.array(bits).view(dtype).reshape(shape)
