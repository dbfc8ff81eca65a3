"""Statistics of the inputs of linear layers: what pruning has to know of the calibration text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.blocks import calls_replaced
from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.errors import CheckpointError
from mlx_prune.kernels.sums import sum_of_squares

_MOST_PENDING = 64 << 20  # bytes of experts' gathered inputs and sums that wait to be evaluated


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

    def __add__(self, other: Self) -> Self: ...


S = TypeVar("S", bound=InputSums)


@dataclass(frozen=True)
class SquareSums:
    """Sums of squares per feature over some tokens: all that Wanda has to know of the inputs.

    Attributes:
        sums: [features] float32.
        count: Tokens that were summed.
    """

    sums: mx.array
    count: int

    def __add__(self, other: SquareSums) -> SquareSums:
        return SquareSums(self.sums + other.sums, self.count + other.count)

    def root_mean_square(self) -> mx.array:
        """[features] float32, sqrt(sum of squares / tokens): Wanda's ``||X_j||_2``, up to a constant.

        Without any token every feature counts 1: an expert that none was routed to is scored by ``|w|``.
        """
        return mx.sqrt(self.sums / self.count) if self.count else mx.ones_like(self.sums)


def square_sums(x: mx.array) -> SquareSums:
    """Sum the squares of activations over every axis but the last.

    Args:
        x: [..., features]; float32, bfloat16 or float16.

    Returns:
        Float32 sums (also of half-precision inputs) and the number of tokens.
    """
    features = x.shape[-1]
    if x.size == 0:
        return SquareSums(mx.zeros(features), 0)
    return SquareSums(sum_of_squares(x.reshape(-1, features)), x.size // features)


@dataclass(frozen=True)
class GramSums:
    """Products of input features, X^T X, summed over some tokens.

    SparseGPT's Hessian and a least-squares repair are made of them.

    Attributes:
        sums: [features, features] float32, X^T X.
        count: Tokens that were summed.
    """

    sums: mx.array
    count: int

    def __add__(self, other: GramSums) -> GramSums:
        return GramSums(self.sums + other.sums, self.count + other.count)

    def root_mean_square(self) -> mx.array:
        """[features] float32, as :meth:`SquareSums.root_mean_square`; there are tokens."""
        return mx.sqrt(mx.diag(self.sums) / self.count)


def gram_sums(x: mx.array) -> GramSums:
    """Multiply activations with themselves, over every axis but the last.

    Args:
        x: [..., features]; float32, bfloat16 or float16.

    Returns:
        Float32 sums (also of half-precision inputs) and the number of tokens.
    """
    features = x.shape[-1]
    if x.size == 0:
        return GramSums(mx.zeros((features, features)), 0)
    rows = x.reshape(-1, features).astype(mx.float32)
    return GramSums(rows.T @ rows, rows.shape[0])


class ActivationSums(Generic[S]):
    """Statistics of the inputs of some linear layers, filled while they run inside :meth:`watching`.

    Layers that receive the same array (q, k and v; gate and up) share one reduction. An expert's statistic is
    over the tokens that were routed to it, and none others.
    """

    def __init__(self, linears: Sequence[PrunableLinear], measure: Callable[[mx.array], S]) -> None:
        """Note which matrices belong to one layer.

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


def routed_inputs(x: mx.array, indices: mx.array, experts: int) -> list[mx.array]:
    """Split the inputs of a stack of experts by the expert that gets them.

    Args:
        x: What a ``SwitchLinear`` is called with: [..., rows, features], whose leading axes broadcast against
            ``indices``. mlx-lm hands over one row per token for all its experts ([..., 1, 1, features]), one
            per token and expert ([..., K, 1, features]), or pairs sorted by expert ([N, 1, features]).
        indices: The expert of each, [..., K] or [N]. Evaluated here.
        experts: Size of the stack.

    Returns:
        For each expert its inputs, [tokens, features]; no rows for one that none were routed to.
    """
    lead = x.shape[:-2]
    places = np.arange(int(np.prod(lead))).reshape(lead)
    places, chosen = np.broadcast_arrays(places, np.array(indices))
    order = np.argsort(chosen, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(chosen.reshape(-1), minlength=experts))
    by_expert = np.split(places.reshape(-1)[order].astype(np.int32), ends[:-1])
    rows = x.reshape(-1, *x.shape[-2:])
    return [rows[mx.array(mine)].reshape(-1, x.shape[-1]) for mine in by_expert]
