"""Look up token embeddings on disk, so that a large table need not be in memory for calibration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.blocks import calls_replaced
from mlx_prune.checkpoint.matrices import block_modules
from mlx_prune.checkpoint.shards import Shards, TensorInfo
from mlx_prune.dtypes import FLOATS, UNSIGNED, WIDTHS, mlx_type


@contextmanager
def embeddings_from_disk(model: nn.Module, shards: Shards) -> Iterator[None]:
    """While open, embeddings outside the blocks read the rows they need from the weight files.

    Tables that the files do not hold under the model's name and shape are left alone.
    """
    inside = {id(module) for _, _, _, module in block_modules(model)}
    tables: dict[int, TensorInfo] = {}
    found: list[nn.Module] = []
    for name, module in model.named_modules():
        info = shards.tensors.get(f"{name}.weight")
        known = info is not None and info.dtype in FLOATS and type(module) is nn.Embedding
        if info is not None and known and id(module) not in inside and info.shape == module.weight.shape:
            tables[id(module)] = info
            found.append(module)

    def look_up(module: nn.Module, ids: mx.array) -> Any:
        return _rows(tables[id(module)], np.array(ids)).astype(module.weight.dtype)

    with calls_replaced(found, look_up):
        yield


def _rows(info: TensorInfo, ids: np.ndarray[Any, Any]) -> mx.array:
    wanted, where = np.unique(ids, return_inverse=True)
    width = info.nbytes // info.shape[0]
    rows = bytearray(width * wanted.size)
    view = memoryview(rows)
    with open(info.file, "rb", buffering=0) as opened:
        for number, row in enumerate(wanted.tolist()):
            opened.seek(info.offset + row * width)
            opened.readinto(view[number * width : (number + 1) * width])
    bits = np.frombuffer(rows, dtype=UNSIGNED[WIDTHS[info.dtype]])
    table = mx.array(bits).view(mlx_type(info.dtype)).reshape(wanted.size, -1)
    return table[mx.array(where.reshape(ids.shape).astype(np.int32))]
