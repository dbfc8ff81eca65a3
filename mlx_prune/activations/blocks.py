"""Run a model one block at a time, through its own code, whatever its architecture.

One dry pass with every block standing aside records what the model hands to each of them (masks, positions),
so nothing about an architecture is rebuilt by hand. Then each block is replayed on the outputs of the one
before, with its linear layers watched or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.errors import CheckpointError, MlxPruneError


class NotBlockByBlock(CheckpointError):
    """A model whose activations cannot be measured one block at a time.

    Attributes:
        reason: Why, without what to do instead; that depends on what the activations were for.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; prune this model by magnitude or at random.")
        self.reason = reason


@dataclass(frozen=True)
class BlockCall:
    """What a model hands to one block besides the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Captured:
    """The inputs of the first block, and the calls of all blocks, for one batch of tokens."""

    hidden: mx.array
    calls: tuple[BlockCall, ...]


def capture(model: nn.Module, tokens: mx.array) -> Captured:
    """Record what the blocks of a model receive, without running them.

    Args:
        model: An mlx-lm model.
        tokens: [batch, length] token ids.

    Returns:
        The hidden states that enter the first block ([batch, length, width]), and the other arguments of
        every block.

    Raises:
        NotBlockByBlock: The model does more between its blocks than pass hidden states along.
    """
    hidden, calls = _standing_aside(model, lambda: model(tokens))
    if any(_stateful(call) for call in calls):
        raise NotBlockByBlock(_unusual(model))
    mx.eval(hidden, [leaf for call in calls for leaf in _arrays(call)])
    return Captured(hidden, calls)


def refuse_shared_caches(model: nn.Module) -> None:
    """Refuse a model in which a block reads the keys and values of another one from the cache.

    Without a cache such blocks compute something else (gemma3n, ml-explore/mlx-lm#1674), and a block that is
    run alone has none.

    Raises:
        NotBlockByBlock: Two blocks are handed one cache.
    """
    caches = make_prompt_cache(model)
    try:
        _, calls = _standing_aside(model, lambda: model(mx.array([[0, 1]]), cache=caches))
    except CheckpointError:
        return  # as `capture` will say
    handed = [{id(leaf) for _, leaf in tree_flatten([call.args, call.kwargs])} for call in calls]
    if any(sum(id(cache) in leaves for leaves in handed) > 1 for cache in caches):
        raise NotBlockByBlock(
            f"Blocks of {type(model).__module__} read each other's keys and values, so activations cannot be "
            "measured block by block"
        )


def _standing_aside(model: nn.Module, forward: Callable[[], Any]) -> tuple[mx.array, tuple[BlockCall, ...]]:
    """What enters the first block, and every block's other arguments, in a forward pass without any block."""
    network = blocks(model)
    order = {id(block): index for index, block in enumerate(network)}
    received: list[mx.array] = []
    calls: list[BlockCall] = []

    def stand_aside(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if order[id(block)] != len(calls) or not args or not isinstance(args[0], mx.array):
            raise NotBlockByBlock(_unusual(model))
        # The very same array must come back: anything done to it in between would be lost in a replay.
        if received and args[0] is not received[0]:
            raise NotBlockByBlock(_unusual(model))
        received.append(args[0])
        calls.append(BlockCall(args[1:], kwargs))
        return args[0]

    with calls_replaced(network, stand_aside):
        try:
            forward()
        except MlxPruneError:
            raise
        except Exception as error:  # the model's own code, surprised by a block that stood aside
            raise NotBlockByBlock(_unusual(model)) from error
    if len(calls) != len(network):
        raise NotBlockByBlock(_unusual(model))
    return received[0], tuple(calls)


def replay(block: nn.Module, hidden: mx.array, call: BlockCall) -> mx.array:
    """Run one block on hidden states ([batch, length, width]); the result is lazy.

    Raises:
        NotBlockByBlock: The block returns something else than hidden states.
    """
    out = block(hidden, *call.args, **call.kwargs)
    if not isinstance(out, mx.array) or out.shape != hidden.shape:
        raise NotBlockByBlock(
            f"{type(block).__name__} returns more than hidden states, so activations cannot be measured "
            "block by block"
        )
    return out


@contextmanager
def calls_replaced(modules: Sequence[nn.Module], call: Callable[..., Any]) -> Iterator[None]:
    """Make ``module(...)`` run ``call(module, ...)``, leaving attributes as they are."""
    classes: list[Any] = [type(module) for module in modules]
    try:
        for module, kind in zip(modules, classes, strict=True):
            module.__dict__[_CALL] = call
            module.__class__ = _intercepted(kind)
        yield
    finally:
        for module, kind in zip(modules, classes, strict=True):
            module.__class__ = kind
            module.__dict__.pop(_CALL, None)


def own_call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run a module's own code, whether its calls are replaced at the moment or not."""
    kind: Any = type(module)
    return (kind.__mro__[1] if _CALL in module.__dict__ else kind).__call__(module, *args, **kwargs)


_CALL = "_mlx_prune_call"


@cache
def _intercepted(kind: type) -> type:
    # Made once per type: a class is a reference cycle, and would keep what its methods hold until collected.
    def intercept(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return module.__dict__[_CALL](module, *args, **kwargs)

    return type(kind.__name__, (kind,), {"__call__": intercept})


def _arrays(call: BlockCall) -> list[mx.array]:
    return [leaf for _, leaf in tree_flatten([call.args, call.kwargs]) if isinstance(leaf, mx.array)]


def _stateful(call: BlockCall) -> bool:
    plain = (mx.array, str, int, float, bool, type(None))
    return any(not isinstance(leaf, plain) for _, leaf in tree_flatten([call.args, call.kwargs]))


def share_equal_arrays(call: BlockCall, other: BlockCall) -> BlockCall:
    """The call with each array that equals its counterpart in another call replaced by that one.

    Masks depend on the shape of a batch alone in nearly every model; batches then hold one between them.
    """
    theirs = dict(tree_flatten([other.args, other.kwargs]))
    mine = dict(tree_flatten([call.args, call.kwargs]))
    if mine.keys() != theirs.keys():
        return call
    same: dict[int, mx.array] = {}
    for key, leaf in mine.items():
        if isinstance(leaf, mx.array) and isinstance(theirs[key], mx.array):
            equal = leaf.dtype == theirs[key].dtype and mx.array_equal(leaf, theirs[key]).item()
            same[id(leaf)] = theirs[key] if equal else leaf
    args, kwargs = tree_map(lambda leaf: same.get(id(leaf), leaf), [call.args, call.kwargs])
    return BlockCall(tuple(args), kwargs)


def _unusual(model: nn.Module) -> str:
    return (
        f"{type(model).__module__} does more between its blocks than pass hidden states along, so "
        "activations cannot be measured block by block"
    )
