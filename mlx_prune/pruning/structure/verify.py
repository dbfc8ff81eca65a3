"""Check a finished checkpoint against the model it came from, block by block, through mlx-lm's own loader.

What a configuration can say is not always what an architecture makes of it: kinds of blocks may follow from
their index, fused matrices may interleave their parts, a norm may run over all heads. So the blocks of the
reloaded checkpoint are run beside those of the source, whose removed columns are zero, on a few tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_prune.activations.blocks import BlockCall, Captured, calls_replaced, capture, replay
from mlx_prune.activations.embeddings import embeddings_from_disk
from mlx_prune.checkpoint.dimensions import build, section
from mlx_prune.checkpoint.matrices import blocks, let_go
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.errors import CheckpointError, MlxPruneError, RecipeError
from mlx_prune.pruning.structure.cuts import Indices
from mlx_prune.pruning.structure.narrower import spread

_TOKENS = 24
_TOLERANCE = 1e-2  # of what a block adds to its input; a wrong cut is off by that much itself
_SMALL_WINDOW = 4


def check_kinds(config: dict[str, Any], changed: dict[str, Any], kept: Sequence[int]) -> None:
    """Refuse blocks that would be handed something else (a mask, a window) in the shallower model.

    Args:
        config: Of the whole model.
        changed: Of the model with the kept blocks.
        kept: Their indices, ascending.

    Raises:
        RecipeError: A block would change its kind, or mlx-lm cannot build the model.
    """
    before = _calls(_with_small_window(config))
    try:
        after = _calls(_with_small_window(changed))
    except CheckpointError as error:
        raise RecipeError(
            f"mlx-lm does not run this architecture with {len(kept)} blocks only, since its kinds of blocks "
            "come in groups; remove fewer."
        ) from error
    for new, old in enumerate(kept):
        if not _same(before[old], after[new]):
            raise RecipeError(_other_kind(old, new))


def check_blocks(
    source: OnDisk,
    result: OnDisk,
    kept: Sequence[int],
    columns: Mapping[str, Indices],
) -> None:
    """Run the blocks of a result beside those of its source.

    Args:
        source: The whole model, in float32.
        result: The smaller one, likewise.
        kept: For each block of the result, its index in the source.
        columns: Columns that were kept, by linear layer of the source; of others all.

    Raises:
        RecipeError: They disagree.
    """
    old_network, new_network = source.network, result.network
    tokens = mx.arange(_TOKENS).reshape(1, -1) % _vocabulary(old_network)
    with embeddings_from_disk(old_network, source.checkpoint.shards):
        before = capture(old_network, tokens)
    with embeddings_from_disk(new_network, result.checkpoint.shards):
        after = capture(new_network, tokens)
    hidden = after.hidden
    if _distance(before.hidden, hidden) > _TOLERANCE * _length(before.hidden):
        raise RecipeError(
            "The smaller model would embed tokens otherwise than the whole one, so this architecture cannot "
            "be made smaller that way."
        )
    for new, old in enumerate(kept):
        hidden = _check_block((old_network, before, old), (new_network, after, new), hidden, columns)


def _check_block(
    source: tuple[nn.Module, Captured, int],
    result: tuple[nn.Module, Captured, int],
    hidden: mx.array,
    columns: Mapping[str, Indices],
) -> mx.array:
    (old_network, before, old), (new_network, after, new) = source, result
    whole, smaller = blocks(old_network)[old], blocks(new_network)[new]
    paths = {id(module): name for name, module in old_network.named_modules()}
    narrow = dict(smaller.named_modules())
    for name, module in whole.named_modules():
        kept = columns.get(paths[id(module)]) if isinstance(module, nn.Linear) else None
        if kept is not None:
            module.weight = spread(narrow[name].weight, kept, module.weight.shape[1])
    wanted = replay(whole, hidden, before.calls[old])
    found = replay(smaller, hidden, after.calls[new])
    mx.eval(wanted, found)
    let_go(whole, smaller)
    added = _distance(wanted, hidden)
    # Not "greater than": what is not a number must not pass.
    if not _distance(wanted, found) <= _TOLERANCE * (added or 1.0):
        raise RecipeError(_other_kind(old, new))
    return found


def _calls(config: dict[str, Any]) -> tuple[BlockCall, ...]:
    network = build(config)
    tables = [module for _, module in network.named_modules() if isinstance(module, nn.Embedding)]

    def nothing(table: nn.Module, ids: mx.array) -> mx.array:
        return mx.zeros((*ids.shape, table.weight.shape[1]))

    with calls_replaced(tables, nothing):
        return capture(network, mx.zeros((1, _TOKENS), dtype=mx.int32)).calls


def _with_small_window(config: dict[str, Any]) -> dict[str, Any]:
    """The config with a window that a few tokens reach beyond, so that sliding attention shows."""
    try:
        part, key = section(config, ("sliding_window",))
    except MlxPruneError:
        return config
    small = {**part, key: _SMALL_WINDOW}
    return small if part is config else {**config, "text_config": small}


def _same(one: BlockCall, other: BlockCall) -> bool:
    first = dict(tree_flatten([one.args, one.kwargs]))
    second = dict(tree_flatten([other.args, other.kwargs]))
    return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, mx.array) and isinstance(other, mx.array):
        return bool(mx.array_equal(one, other).item())
    return type(one) is type(other) and bool(one == other)


def _vocabulary(network: nn.Module) -> int:
    tables = [module for _, module in network.named_modules() if isinstance(module, nn.Embedding)]
    return max((int(table.weight.shape[0]) for table in tables), default=2)


def _distance(one: mx.array, other: mx.array) -> float:
    return _length(one.astype(mx.float32) - other.astype(mx.float32))


def _length(values: mx.array) -> float:
    return float(np.linalg.norm(np.array(values.astype(mx.float32), copy=False)))


def _other_kind(old: int, new: int) -> str:
    place = f"as block {new} of the smaller model" if old != new else "in the smaller model"
    return (
        f"Block {old} would compute something else {place} (its kind follows from its place, or its parts "
        "from each other), so this architecture cannot be made smaller that way."
    )
