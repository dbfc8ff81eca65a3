"""Let the block before a gap make up for the blocks that are gone, by least squares and without training.

With D the inputs of the last projection of the block before the gap, and T what the missing blocks would have
added to its output, the weights become ``W + delta`` with delta minimizing ``||T - D delta^T||^2 + ridge
||delta||^2``: what is linear in D of the missing blocks is kept. The text runs through the model as it will
be: a later gap is repaired on what earlier repairs bring it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_prune.activations.blocks import calls_replaced
from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.statistics import gram_sums
from mlx_prune.checkpoint.matrices import blocks, in_memory
from mlx_prune.errors import RecipeError
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.calibration_pass import CalibrationPass
from mlx_prune.pruning.structure.least_squares import solved

_TOLERANCE = 0.05  # of the projection's output; half-precision sums are off by less


@dataclass(frozen=True)
class GapRepair:
    """The correction for one gap.

    Attributes:
        block: The block before it.
        projection: Path in the model of its last projection.
        delta: [outputs, inputs] float32, to be added to the weights.
        without: ``||H - H'|| / ||H||`` over all tokens, H being the hidden states after the missing blocks
            and H' those after the block before them as it was.
        repaired: The same with the corrected block.
    """

    block: int
    projection: str
    delta: mx.array
    without: float
    repaired: float

    @property
    def described(self) -> dict[str, Any]:
        """As recorded."""
        return {"block": self.block, "without": self.without, "repaired": self.repaired}


def repair_gaps(
    network: nn.Module,
    calibration: CalibrationPass,
    removed: Sequence[int],
    progress: ProgressCallback,
) -> list[GapRepair]:
    """Correct the block before every run of removed blocks; a run at the very beginning has none.

    Args:
        network: The model, its weights lazy; those of blocks are gone afterwards.
        calibration: The text, and where hidden states are kept.
        removed: Indices of the blocks that go, ascending.
        progress: Told after each gap, stage "repair".

    Returns:
        The corrections.

    Raises:
        RecipeError: A block does not add the output of a projection to its hidden states as it is.
    """
    gaps = [run for run in runs(removed) if run[0] > 0]
    steps = calibration.steps(network)
    found: list[GapRepair] = []
    for index in range(gaps[-1][0] if gaps else 0):
        if index in removed:
            continue
        with in_memory(blocks(network)[index]):
            if index + 1 not in removed:
                steps.advance(index)
                continue
            gap = gaps[len(found)]
            found.append(_repair(network, steps, calibration.copied(steps.states), gap))
        progress(Progress("repair", len(found), len(gaps), f"block {index}"))
    calibration.forget()
    return found


def runs(numbers: Sequence[int]) -> list[list[int]]:
    """Split ascending numbers into runs of consecutive ones."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _repair(network: nn.Module, steps: BlockSteps, inputs: HiddenStates, gap: list[int]) -> GapRepair:
    """Correct the block before a gap, and let the hidden states that leave it be those of the pass."""
    index = gap[0] - 1
    batches = range(len(steps.batches))
    name, layer = _last_projection(network, steps, index)
    steps.advance(index)
    for missing in gap:
        with in_memory(blocks(network)[missing]):
            steps.advance(missing)
    # The states of the pass are now those after the gap, what the block before it is to come close to.
    gram: mx.array = mx.array(0.0)
    cross: mx.array = mx.array(0.0)
    whole, without, repaired = 0.0, 0.0, 0.0
    for number in batches:
        with watched(layer) as seen:
            out = steps.run(index, number, inputs.get(number))
        rows = seen[0].reshape(-1, seen[0].shape[-1]).astype(mx.float32)
        target = steps.states.get(number).astype(mx.float32)
        missing_part = target - out.astype(mx.float32)
        gram = gram + gram_sums(rows).sums
        cross = cross + rows.T @ missing_part.reshape(rows.shape[0], -1)
        mx.eval(gram, cross, missing_part)
        whole += squared_length(target)
        without += squared_length(missing_part)
    wide = (np.array(sums, copy=False).astype(np.float64) for sums in (gram, cross))
    delta = mx.array(solved(*wide).T.astype(np.float32))
    layer.weight = (layer.weight.astype(mx.float32) + delta).astype(layer.weight.dtype)
    for number in batches:
        out = steps.run(index, number, inputs.get(number))
        repaired += squared_length((steps.states.get(number) - out).astype(mx.float32))
        steps.states.put(number, out)
    steps.states.advance()
    before, after = (float(np.sqrt(energy / (whole or 1.0))) for energy in (without, repaired))
    return GapRepair(index, name, delta, before, after)


def _last_projection(network: nn.Module, steps: BlockSteps, index: int) -> tuple[str, nn.Module]:
    """The linear layer whose output a block adds to its hidden states last.

    Raises:
        RecipeError: There is none, or something is done to its output in between.
    """
    block = blocks(network)[index]
    linears = [module for _, module in block.named_modules() if isinstance(module, nn.Linear)]
    order: list[nn.Module] = []

    def note(layer: nn.Module, x: mx.array) -> Any:
        order.append(layer)
        return type(layer).__mro__[1].__call__(layer, x)

    with calls_replaced(linears, note):
        steps.run(index, 0)
    layer = order[-1]
    with watched(layer) as seen:
        with_it = steps.run(index, 0)
    kept = layer.weight
    layer.weight = mx.zeros_like(kept)
    without_it = steps.run(index, 0)
    layer.weight = kept
    product = (seen[0] @ kept.T).astype(mx.float32)
    if product.shape == with_it.shape:
        off = squared_length((with_it - without_it).astype(mx.float32) - product)
        if off <= _TOLERANCE**2 * squared_length(product):
            paths = {id(module): name for name, module in network.named_modules()}
            return paths[id(layer)], layer
    raise RecipeError(
        f"{type(block).__name__} does not add the output of its last projection to the hidden states as it "
        "is, so a block that is gone cannot be made up for there; leave repair out."
    )


@contextmanager
def watched(layer: nn.Module) -> Iterator[list[mx.array]]:
    """While open, keep what a layer is called with."""
    seen: list[mx.array] = []

    def keep(module: nn.Module, x: mx.array) -> Any:
        seen.append(x)
        return type(module).__mro__[1].__call__(module, x)

    with calls_replaced([layer], keep):
        yield seen


def squared_length(values: mx.array) -> float:
    """The sum of the squares."""
    return float(np.array(mx.square(values).sum()))
