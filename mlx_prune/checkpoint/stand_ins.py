"""Find where a model's matrices come from, without knowing how its architecture renames them.

mlx-lm stacks experts, splits fused matrices and renames tensors in each architecture's ``sanitize``. Run on
small stand-ins whose every value is its own number, it shows where each of them ends up; the real weights of
one block then have to agree.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.checkpoint.shards import Place, Shards, TensorInfo
from mlx_prune.dtypes import FLOATS

_LARGEST = 1 << 26  # stand-in values in all, 256 MB


def places_by_stand_ins(
    shards: Shards, linears: Sequence[PrunableLinear], network: nn.Module, *, known: AbstractSet[str]
) -> dict[str, Place] | None:
    """Find matrices that the source's files hold under other names, or as parts of other tensors.

    Args:
        shards: The source's weight files.
        linears: The matrices to find.
        network: The model they belong to, for its ``sanitize``.
        known: Tensors whose place is known already.

    Returns:
        The place of each matrix by its name; None if one is not there as it stands (transposed, interleaved,
        scaled, or stored otherwise than as floats).
    """
    sanitize = getattr(network, "sanitize", None)
    if sanitize is None:
        return None
    numbered = _StandIns(shards, linears, known)
    arrays = numbered.arrays()
    if arrays is None:
        return None
    try:
        arrived = sanitize(shards.load(shards.tensors) | arrays)
    except Exception:  # an architecture's own code, surprised by the stand-ins' sizes
        return None
    places: dict[str, Place] = {}
    for layer, inside in _by_layer(linears).items():
        values = arrived.pop(f"{layer}.weight", None)
        if not isinstance(values, mx.array) or values.dtype != mx.int32:
            return None
        numbers = np.array(values).reshape(-1, *values.shape[-2:])
        for linear in inside:
            place = numbered.place(linear, numbers[linear.expert or 0])
            if place is None:
                return None
            places[linear.name] = place
    if len(set(places.values())) < len(places):
        return None
    first = [linear for linear in linears if linear.block == linears[0].block]
    real = sanitize(shards.load(shards.tensors))
    return places if _values_agree(shards, first, real, places) else None


class _StandIns:
    """Small arrays in place of the tensors that may hold the matrices looked for.

    All sizes are divided by one number, so that halves stay halves; every value occurs once.
    """

    def __init__(self, shards: Shards, linears: Sequence[PrunableLinear], known: AbstractSet[str]) -> None:
        sizes = {size for linear in linears for size in (linear.out_features, linear.in_features)}
        self._unit = math.gcd(*sizes)
        # Twice the smallest sizes: a 1 x 1 matrix would look the same transposed.
        small = {real: 2 * real // self._unit for size in sizes for real in (size, 2 * size)}
        self._tensors: list[TensorInfo] = []
        self._shapes: list[tuple[int, ...]] = []
        self._first: list[int] = []
        self._end = 0
        for info in shards.tensors.values():
            fits = len(info.shape) in (2, 3) and all(size in small for size in info.shape[-2:])
            if fits and info.dtype in FLOATS and info.name not in known:
                self._tensors.append(info)
                self._shapes.append((*info.shape[:-2], small[info.shape[-2]], small[info.shape[-1]]))
                self._first.append(self._end)
                self._end += math.prod(self._shapes[-1])

    def arrays(self) -> dict[str, mx.array] | None:
        """The stand-ins by tensor name; None if there are none, or too many values to number."""
        if not self._tensors or self._end > _LARGEST:
            return None
        return {
            info.name: mx.arange(first, first + math.prod(shape), dtype=mx.int32).reshape(shape)
            for info, first, shape in zip(self._tensors, self._first, self._shapes, strict=True)
        }

    def place(self, linear: PrunableLinear, numbers: np.ndarray[Any, Any]) -> Place | None:
        """Where the matrix lies that arrived with these numbers; None if it is no run of whole rows."""
        start = int(numbers.flat[0])
        if not np.array_equal(numbers.reshape(-1), np.arange(start, start + numbers.size)):
            return None
        index = bisect.bisect_right(self._first, start) - 1
        info, (*_, rows, columns) = self._tensors[index], self._shapes[index]
        row, column = divmod(start - self._first[index], columns)
        matrix, row = divmod(row, rows)
        whole_rows = column == 0 and numbers.shape[1] == columns and row + numbers.shape[0] <= rows
        if not whole_rows or info.shape[-1] != linear.in_features or row * self._unit % 2:
            return None
        return Place(info.name, (matrix * info.shape[-2] + row * self._unit // 2) * linear.in_features)


def _values_agree(
    shards: Shards, linears: Sequence[PrunableLinear], real: dict[str, mx.array], places: Mapping[str, Place]
) -> bool:
    for layer, inside in _by_layer(linears).items():
        weight = real.pop(f"{layer}.weight")
        stack = weight.reshape(-1, *weight.shape[-2:])
        mx.eval(stack)
        for linear in inside:
            place = places[linear.name]
            found = shards.tensors[place.tensor].read(place.start, stack.shape[1:])
            if not mx.array_equal(found.astype(stack.dtype), stack[linear.expert or 0]).item():
                return False
    return True


def _by_layer(linears: Sequence[PrunableLinear]) -> dict[str, list[PrunableLinear]]:
    found: dict[str, list[PrunableLinear]] = {}
    for linear in linears:
        found.setdefault(linear.layer, []).append(linear)
    return found
