"""What experts do on a text: how many tokens each gets, how long its outputs are, how much they weigh.

No router is rewritten. The module that adds the experts' outputs is run once more with something added to
each of them, and the derivative of the sum by that is the weight, whatever the architecture made it of.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune import distributed
from mlx_prune.activations.blocks import calls_replaced, own_call
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.experts.mixtures import Mixture
from mlx_prune.pruning.experts.scores import ExpertSums, HiddenPeak

_TOLERANCE = 0.05  # of what the experts add; half-precision sums are off by less
_HALF = (mx.bfloat16, mx.float16)


def measure_block(network: nn.Module, mixture: Mixture, steps: BlockSteps) -> tuple[ExpertSums, HiddenPeak]:
    """Run one block, its weights in memory, over the whole text; the states move on to the next block.

    Args:
        network: The model.
        mixture: Of the block.
        steps: The calibration pass, its states at the block.

    Returns:
        What its experts did, and its hidden states; over the texts of all processes.

    Raises:
        RecipeError: The block does something else with its experts' outputs than to weigh and add them.
        CheckpointError: Their outputs are not finite.
    """
    if mixture.bank is None:
        raise RecipeError(
            f"{type(network).__module__} runs its experts in a way of its own, so they cannot be watched; "
            "choose --score weight-norm or random."
        )
    modules = dict(network.named_modules())
    watch = _Watch(modules[mixture.owner], modules[mixture.bank])
    total = ExpertSums.nothing(mixture.count)
    peak = HiddenPeak(0.0, 0.0, 0.0)
    for number in range(len(steps.batches)):
        entering = steps.states.get(number)
        with watch.watching():
            leaving = steps.run(mixture.block, number)
        if number == 0:
            watch.check(mixture)
        total += watch.sums(mixture.count, leaving)
        peak = _higher(peak, _peak(entering, leaving))
        steps.states.put(number, leaving)
        watch.forget()
    steps.states.advance()
    total, peak = _over_all_processes(total, peak)
    if not np.isfinite(total.weighted).all():
        raise CheckpointError(
            f"The outputs of the experts of block {mixture.block} overflow or are not finite on the "
            "calibration text; try --dtype float32, and check that the checkpoint is sound."
        )
    return total, peak


class _Watch:
    """Runs the module that weighs experts, and keeps what went through it."""

    def __init__(self, owner: nn.Module, bank: nn.Module) -> None:
        self._owner, self._bank = owner, bank
        self._outputs: list[tuple[mx.array, mx.array]] = []
        self._calls: list[tuple[tuple[Any, ...], dict[str, Any], mx.array]] = []
        self._weights: list[mx.array] = []

    def watching(self) -> Any:
        """While open, calls of the owner are kept."""
        return calls_replaced([self._owner], self._around)

    def _around(self, owner: nn.Module, *args: Any, **kwargs: Any) -> mx.array:
        def note(bank: nn.Module, x: mx.array, indices: mx.array, *more: Any) -> mx.array:
            y: mx.array = own_call(bank, x, indices, *more)
            if y.shape[:-1] != indices.shape:
                raise RecipeError(_unusual(type(owner).__name__))
            self._outputs.append((indices, y))
            return y

        with calls_replaced([self._bank], note):
            out: mx.array = own_call(owner, *args, **kwargs)
        if len(self._outputs) != len(self._calls) + 1:
            raise RecipeError(_unusual(type(owner).__name__))
        self._calls.append((args, kwargs, out))
        self._weights.append(self._weight(args, kwargs))
        return out

    def _weight(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> mx.array:
        """[..., K] float32: the derivative of the sum by what is added to each expert's output."""
        indices, y = self._outputs[-1]

        def first_feature(added: mx.array) -> mx.array:
            with calls_replaced([self._bank], lambda *_: y + added):
                out: mx.array = own_call(self._owner, *args, **kwargs)
            return out[..., 0].astype(mx.float32).sum()

        slope: mx.array = mx.grad(first_feature)(mx.zeros((*indices.shape, 1)))
        return slope[..., 0]

    def sums(self, experts: int, also: mx.array) -> ExpertSums:
        """What the experts did in the calls kept; something else is evaluated with it."""
        total = ExpertSums.nothing(experts)
        for (indices, y), weights in zip(self._outputs, self._weights, strict=True):
            wide = y.astype(mx.float32)
            norms = mx.sqrt(mx.square(wide).sum(axis=-1))
            largest = mx.abs(wide).max(axis=-1)
            mx.eval(indices, weights, norms, largest, also)
            columns = (
                np.array(values).reshape(-1).astype(np.float64) for values in (weights, norms, largest)
            )
            total += ExpertSums.of(experts, np.array(indices).reshape(-1).astype(np.int64), *columns)
        return total

    def check(self, mixture: Mixture) -> None:
        """Refuse a block whose output is not the sum of its experts' outputs, each times its weight.

        Raises:
            RecipeError: It is something else.
        """
        (args, kwargs, out), (_, y) = self._calls[0], self._outputs[0]
        with calls_replaced([self._bank], lambda *_: mx.zeros_like(y)):
            rest: mx.array = own_call(self._owner, *args, **kwargs)
        added = (y.astype(mx.float32) * self._weights[0][..., None]).sum(axis=-2).reshape(out.shape)
        found = out.astype(mx.float32) - rest.astype(mx.float32)
        size, off = (float(mx.sqrt(mx.square(values).sum())) for values in (added, found - added))
        # What is subtracted is as large as the sum that was rounded to half precision.
        if out.dtype in _HALF:
            size = max(size, float(mx.sqrt(mx.square(rest.astype(mx.float32)).sum())))
        if np.isfinite(size) and not off <= _TOLERANCE * size:
            raise RecipeError(_unusual(mixture.owner))

    def forget(self) -> None:
        """Let go of one batch."""
        self._outputs, self._calls, self._weights = [], [], []


def _peak(entering: mx.array, leaving: mx.array) -> HiddenPeak:
    size = mx.abs(leaving.astype(mx.float32)).reshape(-1, leaving.shape[-1])
    row = np.array(size[mx.argmax(size.max(axis=-1))])
    before = float(mx.abs(entering.astype(mx.float32)).max())
    return HiddenPeak(before, float(row.max()), float(np.median(row)))


def _higher(one: HiddenPeak, other: HiddenPeak) -> HiddenPeak:
    top = max(one, other, key=lambda peak: peak.after)
    return HiddenPeak(max(one.before, other.before), top.after, top.median)


def _over_all_processes(sums: ExpertSums, peak: HiddenPeak) -> tuple[ExpertSums, HiddenPeak]:
    """Added up in the order of the ranks, so that every process comes to the same sums."""
    if distributed.size() == 1:
        return sums, peak
    mine = np.array([*(getattr(sums, name) for name in sums.__dataclass_fields__)], dtype=np.float64)
    states = np.array([peak.before, peak.after, peak.median])
    parts = distributed.gather_bytes(mine.tobytes() + states.tobytes())
    total, highest = ExpertSums.nothing(sums.tokens.size), HiddenPeak(0.0, 0.0, 0.0)
    for part in parts:
        values = np.frombuffer(part, dtype=np.float64)
        tokens, norms, weighted, largest = values[:-3].reshape(4, -1)
        total += ExpertSums(tokens.astype(np.int64), norms, weighted, largest)
        highest = _higher(highest, HiddenPeak(*(float(value) for value in values[-3:])))
    return total, highest


def _unusual(where: str) -> str:
    return (
        f"{where} does something else with its experts' outputs than to weigh and add them, so what an "
        "expert gives cannot be measured; choose --score weight-norm or random."
    )
