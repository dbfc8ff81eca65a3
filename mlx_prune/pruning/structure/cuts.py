"""Which rows and columns of which parameters go with a neuron or a key-value group.

Nothing is known about architectures: the network is built once more from a configuration with fewer units,
and the parameters whose shapes changed tell where the units are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.errors import RecipeError

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Cut:
    """The axis of a parameter along which units lie.

    Attributes:
        axis: The axis.
        owners: [length of the axis] unit that each slice belongs to.
    """

    axis: int
    owners: Indices

    def kept(self, units: Indices) -> Indices:
        """Indices along the axis that belong to some units, ascending."""
        return np.flatnonzero(np.isin(self.owners, units))

    def take(self, values: mx.array, units: Indices) -> mx.array:
        """The slices that belong to some units."""
        return mx.take(values, mx.array(self.kept(units).astype(np.int32)), axis=self.axis)


@dataclass(frozen=True)
class BlockCuts:
    """The units of one block.

    Attributes:
        kind: "mlp" or "heads".
        count: Number of units.
        consumer: Path in the model of the linear layer that reads the units, "model.layers.0.mlp.down_proj".
        cuts: By parameter, "model.layers.0.mlp.down_proj.weight".
    """

    kind: str
    count: int
    consumer: str
    cuts: Mapping[str, Cut]


def neuron_cuts(network: nn.Module, narrower: nn.Module, neurons: int, kept: int) -> list[BlockCuts]:
    """Find the MLP neurons of every block.

    Args:
        network: The whole model.
        narrower: The same model, built with ``kept`` neurons per block.
        neurons: Its neurons per block.
        kept: As told.

    Returns:
        The cuts of each block. A fused matrix holds gate and up one after the other.

    Raises:
        RecipeError: A block has no such MLP, or the configuration changes something else, too.
    """
    owners = np.arange(neurons)
    roles = {(copies * neurons, copies * kept): np.tile(owners, copies) for copies in (1, 2)}
    return _found(network, narrower, "mlp", neurons, roles)


def group_cuts(
    network: nn.Module, narrower: nn.Module, heads: tuple[int, int, int], kept: int
) -> list[BlockCuts]:
    """Find the key-value groups of every block.

    Args:
        network: The whole model.
        narrower: The same model, built with ``kept`` groups per block.
        heads: Query heads, key-value groups and head size.
        kept: As told.

    Returns:
        The cuts of each block. A fused matrix holds queries, keys and values one after the other.

    Raises:
        RecipeError: The configuration cannot say fewer heads of the same size, or changes something else.
    """
    queries, groups, size = heads
    share = queries // groups
    by_query, by_key = np.repeat(np.arange(groups), share * size), np.repeat(np.arange(groups), size)
    fused = np.concatenate([by_query, by_key, by_key])
    roles = {}
    # Where lengths coincide, the later and more common role wins.
    for owners in (fused, np.repeat(np.arange(groups), share), np.arange(groups), by_key, by_query):
        roles[(owners.size, owners.size // groups * kept)] = owners
    return _found(network, narrower, "heads", groups, roles)


def _found(
    network: nn.Module,
    narrower: nn.Module,
    kind: str,
    count: int,
    roles: Mapping[tuple[int, int], Indices],
) -> list[BlockCuts]:
    before, after = _shapes(network), _shapes(narrower)
    what = "MLP neurons" if kind == "mlp" else "attention heads"
    # Beside the blocks, mlx-lm lets go of what the weights do not hold when it loads them (a tied head).
    inside = _blocks_by_parameter(narrower).keys()
    if before.keys() - after.keys() or (after.keys() - before.keys()) & inside:
        raise RecipeError(f"A configuration with fewer {what} has other parameters, so width cannot cut it.")
    linears = {name for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    found: list[dict[str, Cut]] = [{} for _ in blocks(network)]
    owner_of_name = _blocks_by_parameter(network)
    for name, shape in before.items():
        if shape == after[name]:
            continue
        block = owner_of_name.get(name)
        cut = _cut(shape, after[name], roles)
        if block is None or cut is None:
            raise RecipeError(
                f"A configuration with fewer {what} would change {name} from {shape} to {after[name]}, which "
                "is not a matter of leaving some out, so this model cannot be made narrower that way."
            )
        if len(shape) > 2:
            raise RecipeError(
                "Width does not cut experts, whose neurons differ from expert to expert; use depth, or prune "
                "weights."
            )
        found[block][name] = cut
    return [_of_block(index, cuts, linears, kind, count) for index, cuts in enumerate(found)]


def _of_block(index: int, cuts: dict[str, Cut], linears: set[str], kind: str, count: int) -> BlockCuts:
    readers = [
        name.removesuffix(".weight")
        for name, cut in cuts.items()
        if cut.axis == 1 and name.removesuffix(".weight") in linears
    ]
    if len(readers) != 1 or len(cuts) < 2:
        what = "MLP whose neurons" if kind == "mlp" else "attention whose heads, at their size,"
        raise RecipeError(
            f"Block {index} has no {what} the configuration alone counts, so width cannot narrow every block "
            "alike; use depth, or prune weights."
        )
    return BlockCuts(kind, count, readers[0], cuts)


def _cut(
    before: tuple[int, ...], after: tuple[int, ...], roles: Mapping[tuple[int, int], Indices]
) -> Cut | None:
    axes = [axis for axis, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    if len(before) != len(after) or len(axes) != 1:
        return None
    owners = roles.get((before[axes[0]], after[axes[0]]))
    return None if owners is None else Cut(axes[0], owners)


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(values.shape) for name, values in tree_flatten(network.parameters())}


def _blocks_by_parameter(network: nn.Module) -> dict[str, int]:
    paths = {id(module): name for name, module in network.named_modules()}
    found: dict[str, int] = {}
    for index, block in enumerate(blocks(network)):
        prefix = paths[id(block)]
        found.update((f"{prefix}.{name}", index) for name, _ in tree_flatten(block.parameters()))
    return found


def cut_shapes(
    shapes: Mapping[str, tuple[int, ...]], cuts: Iterable[BlockCuts], kept: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Shapes of parameters after all cuts.

    Args:
        shapes: By parameter.
        cuts: Of all blocks.
        kept: Units kept per block, by kind.
    """
    result = dict(shapes)
    for block in cuts:
        for name, cut in block.cuts.items():
            shape = list(result[name])
            shape[cut.axis] = shape[cut.axis] // block.count * kept[block.kind]
            result[name] = tuple(shape)
    return result
