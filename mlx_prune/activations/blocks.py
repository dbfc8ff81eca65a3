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
from typing import Any, Generic, Protocol, Self, TypeVar

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.activations.routing import routed_inputs
from mlx_prune.checkpoint.matrices import PrunableLinear, blocks
from mlx_prune.errors import CheckpointError, MlxPruneError

_MOST_PENDING = 64 << 20  # bytes of experts' gathered inputs and sums that wait to be evaluated


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
        CheckpointError: The model does more between its blocks than pass hidden states along.
    """
    hidden, calls = _standing_aside(model, lambda: model(tokens))
    if any(_stateful(call) for call in calls):
        raise CheckpointError(_unusual(model))
    mx.eval(hidden, [leaf for call in calls for leaf in _arrays(call)])
    return Captured(hidden, calls)


def refuse_shared_caches(model: nn.Module) -> None:
    """Refuse a model in which a block reads the keys and values of another one from the cache.

    Without a cache such blocks compute something else (gemma3n, ml-explore/mlx-lm#1674), and a block that is
    run alone has none.

    Raises:
        CheckpointError: Two blocks are handed one cache.
    """
    caches = make_prompt_cache(model)
    try:
        _, calls = _standing_aside(model, lambda: model(mx.array([[0, 1]]), cache=caches))
    except CheckpointError:
        return  # as `capture` will say
    handed = [{id(leaf) for _, leaf in tree_flatten([call.args, call.kwargs])} for call in calls]
    if any(sum(id(cache) in leaves for leaves in handed) > 1 for cache in caches):
        raise CheckpointError(
            f"Blocks of {type(model).__module__} read each other's keys and values, so activations cannot be "
            "measured block by block; prune this model by magnitude or at random."
        )


def _standing_aside(model: nn.Module, forward: Callable[[], Any]) -> tuple[mx.array, tuple[BlockCall, ...]]:
    """What enters the first block, and every block's other arguments, in a forward pass without any block."""
    network = blocks(model)
    order = {id(block): index for index, block in enumerate(network)}
    received: list[mx.array] = []
    calls: list[BlockCall] = []

    def stand_aside(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if order[id(block)] != len(calls) or not args or not isinstance(args[0], mx.array):
            raise CheckpointError(_unusual(model))
        # The very same array must come back: anything done to it in between would be lost in a replay.
        if received and args[0] is not received[0]:
            raise CheckpointError(_unusual(model))
        received.append(args[0])
        calls.append(BlockCall(args[1:], kwargs))
        return args[0]

    with calls_replaced(network, stand_aside):
        try:
            forward()
        except MlxPruneError:
            raise
        except Exception as error:  # the model's own code, surprised by a block that stood aside
            raise CheckpointError(_unusual(model)) from error
    if len(calls) != len(network):
        raise CheckpointError(_unusual(model))
    return received[0], tuple(calls)


def replay(block: nn.Module, hidden: mx.array, call: BlockCall) -> mx.array:
    """Run one block on hidden states ([batch, length, width]); the result is lazy.

    Raises:
        CheckpointError: The block returns something else than hidden states.
    """
    out = block(hidden, *call.args, **call.kwargs)
    if not isinstance(out, mx.array) or out.shape != hidden.shape:
        raise CheckpointError(
            f"{type(block).__name__} returns more than hidden states, so activations cannot be measured "
            "block by block; prune this model by magnitude or at random."
        )
    return out


class InputSums(Protocol):
    """A statistic of a layer's inputs that adds up over tokens."""

    @property
    def sums(self) -> mx.array:
        """What is added up."""
        ...

    @property
    def count(self) -> int:
        """Tokens that were summed."""
        ...

    def __add__(self, other: Self) -> Self:
        """The statistic over both sets of tokens."""
        ...


S = TypeVar("S", bound=InputSums)


class ActivationSums(Generic[S]):
    """Statistics of the inputs of some linear layers, filled while they run inside :meth:`watching`.

    Layers that receive the same array (q, k and v; gate and up) share one reduction. An expert's statistic is
    over the tokens that were routed to it, and none others.
    """

    def __init__(self, linears: Sequence[PrunableLinear], measure: Callable[[mx.array], S]) -> None:
        """Nothing is measured yet.

        Args:
            linears: The layers to watch.
            measure: Reduces the inputs of one call, [..., features], or no inputs, [0, features].
        """
        self._linears = linears
        self._measure = measure
        self._watched: dict[int, list[PrunableLinear]] = {}
        for linear in linears:
            self._watched.setdefault(id(linear.module), []).append(linear)
        self._sums: dict[str, S] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While open, every call of a layer adds its inputs; open it once per forward pass."""
        # What an id belongs to is kept with it: the id must not be given to something else meanwhile.
        reduced: dict[tuple[int, ...], tuple[tuple[mx.array, ...], dict[int | None, S]]] = {}
        added: dict[tuple[int, int], tuple[S, S]] = {}

        def add(layer: nn.Module, x: mx.array, *args: Any, **kwargs: Any) -> Any:
            watched = self._watched[id(layer)]
            inputs: tuple[mx.array, ...] = (x,)
            if watched[0].expert is not None:  # a stack of experts is called with (x, indices, ...)
                inputs = (x, args[0] if args else kwargs["indices"])
            key = tuple(id(array) for array in inputs)
            if key not in reduced:
                reduced[key] = (inputs, self._reduce(watched[0].module, *inputs))
            for linear in watched:
                so_far, new = self._sums.get(linear.name), reduced[key][1][linear.expert]
                if so_far is None:
                    self._sums[linear.name] = new
                    continue
                pair = (id(so_far), id(new))
                if pair not in added:
                    added[pair] = (so_far, so_far + new)
                self._sums[linear.name] = added[pair][1]
            return type(layer).__mro__[1].__call__(layer, x, *args, **kwargs)

        with calls_replaced([watched[0].module for watched in self._watched.values()], add):
            yield

    def _reduce(self, layer: nn.Module, x: mx.array, indices: mx.array | None = None) -> dict[int | None, S]:
        """The statistic of a layer's inputs, or of each expert's own."""
        if indices is None:
            return {None: self._measure(x)}
        found: dict[int | None, S] = {}
        pending, waiting = 0, []
        for expert, part in enumerate(routed_inputs(x, indices, layer.num_experts)):
            found[expert] = self._measure(part)
            # Evaluated many at a time, for the sake of time, but not all: their gathered inputs take memory.
            pending += part.nbytes + found[expert].sums.nbytes
            waiting.append(found[expert].sums)
            if pending >= _MOST_PENDING:
                mx.eval(waiting)
                pending, waiting = 0, []
        mx.eval(waiting)
        return found

    def so_far(self) -> dict[str, S]:
        """What was added up, to go back to."""
        return dict(self._sums)

    def go_back(self, sums: dict[str, S]) -> None:
        """Forget what was added since :meth:`so_far`."""
        self._sums = sums

    def arrays(self) -> list[mx.array]:
        """The lazy sums, to be evaluated."""
        return [sums.sums for sums in self._sums.values()]

    def result(self) -> dict[str, S]:
        """The evaluated sums by layer name; those of an expert that no token was routed to count 0 tokens.

        Raises:
            CheckpointError: A layer saw no input, or NaN or infinite ones.
        """
        mx.eval(self.arrays())
        for linear in self._linears:
            if linear.name not in self._sums:
                raise CheckpointError(
                    f"{linear.layer} received no input during calibration, so its weights cannot be "
                    "scored; use magnitude or random."
                )
            if not mx.isfinite(self._sums[linear.name].sums).all().item():
                raise CheckpointError(
                    f"The inputs of {linear.name} overflow or are not finite on the calibration text; "
                    "try --dtype float32, and check that the checkpoint is sound."
                )
        return self._sums


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
        "activations cannot be measured block by block; prune this model by magnitude or at random."
    )
