"""Where each prunable matrix lies in a folder's weight files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.nn as nn

from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.checkpoint.shards import Place, Shards
from mlx_prune.checkpoint.stand_ins import places_by_stand_ins
from mlx_prune.dtypes import FLOATS
from mlx_prune.errors import CheckpointError


@dataclass(frozen=True)
class Layout:
    """How the weight files of a pruned checkpoint are laid out.

    Attributes:
        name: "source" (the source's own files) or "mlx" (mlx-lm's names and shapes).
        places: Of every prunable matrix, by its name.
    """

    name: str
    places: Mapping[str, Place]


def layout_of(shards: Shards, linears: list[PrunableLinear], network: nn.Module) -> Layout:
    """Find every prunable matrix in the source's files, or choose mlx-lm's own layout.

    Args:
        shards: The source's weight files.
        linears: The prunable matrices.
        network: The model they belong to; its weights are not touched.

    Returns:
        Layout "source" if the files hold every matrix as the model does, as a tensor or as a run of whole
        rows in one; else "mlx".

    Raises:
        CheckpointError: A prunable matrix is not stored as floats.
    """
    places: dict[str, Place] = {}
    elsewhere: list[PrunableLinear] = []
    for linear in linears:
        info = shards.tensors.get(f"{linear.layer}.weight")
        shape: tuple[int, ...] = (linear.out_features, linear.in_features)
        if linear.expert is not None:
            shape = (linear.module.num_experts, *shape)
        if info is None or info.shape != shape:
            elsewhere.append(linear)
            continue
        if info.dtype not in FLOATS:
            raise CheckpointError(
                f"{info.name} is stored as {info.dtype}, and only float32, bfloat16 and float16 weights can "
                "be pruned; convert the checkpoint first."
            )
        places[linear.name] = own_place(linear)
    if elsewhere:
        found = places_by_stand_ins(shards, elsewhere, network, known={p.tensor for p in places.values()})
        if found is None:
            return Layout("mlx", {linear.name: own_place(linear) for linear in linears})
        places |= found
    return Layout("source", places)


def own_place(linear: PrunableLinear) -> Place:
    """Where a matrix lies in a file with mlx-lm's names and shapes."""
    return Place(f"{linear.layer}.weight", (linear.expert or 0) * linear.size)
