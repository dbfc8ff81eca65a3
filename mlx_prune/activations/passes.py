"""Activation statistics of a model on a text, block by block."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from mlx_prune import distributed
from mlx_prune.activations.blocks import (
    BlockCall,
    capture,
    refuse_shared_caches,
    replay,
    share_equal_arrays,
)
from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.statistics import ActivationSums, S, SquareSums, square_sums
from mlx_prune.activations.text import CalibrationTokens, calibration_tokens, for_model
from mlx_prune.checkpoint.config import experts_per_token
from mlx_prune.checkpoint.matrices import PrunableLinear, blocks, prunable_linears
from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.errors import DataError
from mlx_prune.generation.quick import needed, quick_functions
from mlx_prune.kernels import choice
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.shares import keep_freed_memory
from mlx_prune.wired import wired_limit

_SMALLEST_BUDGET = 32 << 20


@dataclass(frozen=True)
class ActivationStatistics:
    """Sums of squared inputs of every prunable linear on one calibration text.

    Attributes:
        sums: By layer name; :meth:`SquareSums.root_mean_square` is Wanda's factor.
        calibration: Source, sizes and hashes of the text, as recorded beside a result.
        kernels: What computed them, as recorded beside a result.
    """

    sums: dict[str, SquareSums]
    calibration: dict[str, Any]
    kernels: dict[str, Any] = field(default_factory=dict)


def calibrate(
    model: LoadedModel,
    calibration: Calibration | None = None,
    *,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> ActivationStatistics:
    """Measure the inputs of every prunable linear of the model as it stands ("dense" statistics).

    The result serves every sparsity and pattern: pass it to :func:`mlx_prune.prune`. The model runs
    inside mlx-lm's wired limit.

    Args:
        model: From :func:`mlx_prune.checkpoint.open.load`. It is left as it is.
        calibration: Text and sizes; None is the embedded text, for the embedded model.
        seed: Of the choice of sequences.
        progress: Told after each block.

    Returns:
        Float32 sums of squares per input feature.

    Raises:
        DataError: The text is not named, cannot be read or is too short.
        CheckpointError: Activations are not finite, or cannot be measured block by block.
    """
    report = progress or silent
    data = calibration_tokens(
        for_model(calibration or Calibration(), model), model.tokenizer, model.config, seed
    )
    linears = prunable_linears(model.model)
    steps = BlockSteps(model.model, linears, data, config=model.config)
    sums: dict[str, SquareSums] = {}
    with choice.recording() as kernels, wired_limit(model.model):
        steps.begin(HiddenStates(len(steps.batches)))
        for index in range(steps.count):
            sums.update(steps.watch(index, measure=square_sums, advance=index + 1 < steps.count))
            report(Progress("calibrate", index + 1, steps.count, f"block {index}"))
    described = {**data.describe(), "batch_size": steps.batch_size}
    return ActivationStatistics(sums, described, kernels.to_json())


class BlockSteps:
    """A model's forward pass over all calibration batches, one block at a time."""

    def __init__(
        self,
        network: nn.Module,
        linears: Iterable[PrunableLinear],
        data: CalibrationTokens,
        *,
        config: dict[str, Any],
    ) -> None:
        """Plan the batches; nothing runs yet.

        Args:
            network: The model. Its blocks may still lie on disk.
            linears: Its prunable linears.
            data: The token sequences.
            config: The model's config.json.
        """
        self._network = network
        self._blocks = blocks(network)
        self._linears: list[list[PrunableLinear]] = [[] for _ in self._blocks]
        for linear in linears:
            self._linears[linear.block].append(linear)
        # Under a launcher every process runs its share of the samples; the sums are added in `watch`.
        tokens = data.tokens[distributed.rank() :: distributed.size()]
        samples, length = tokens.shape
        if samples == 0:
            raise DataError(
                f"{len(data.tokens)} calibration samples cannot be split over {distributed.size()} "
                "processes; give more samples or use fewer processes."
            )
        dtype = next(linear for block in self._linears for linear in block).dtype
        self.batch_size = min(samples, batch_size(self._linears, length, dtype, config))
        self.batches = [
            mx.array(tokens[start : start + self.batch_size]) for start in range(0, samples, self.batch_size)
        ]
        self._calls: list[tuple[BlockCall, ...]] = []
        self._states: HiddenStates | None = None

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    @property
    def states(self) -> HiddenStates:
        """The hidden states between the blocks; :meth:`begin` sets them."""
        assert self._states is not None
        return self._states

    def begin(self, states: HiddenStates, *, filled: bool = False) -> None:
        """Run what comes before the first block, and record what each block is handed.

        On a Linux CPU freed memory is kept for the arrays to come, also afterwards.

        Args:
            states: Where hidden states are kept.
            filled: They already hold those of a later block; only the calls are recorded.
        """
        self._states = states
        if needed():
            keep_freed_memory()
        refuse_shared_caches(self._network)
        for number, tokens in enumerate(self.batches):
            captured = capture(self._network, tokens)
            calls = captured.calls
            if self._calls:
                calls = tuple(
                    share_equal_arrays(call, first) for call, first in zip(calls, self._calls[0], strict=True)
                )
            self._calls.append(calls)
            if not filled:
                states.put(number, captured.hidden)
        if not filled:
            states.start()

    def watch(
        self,
        index: int,
        *,
        measure: Callable[[mx.array], S],
        advance: bool,
        linears: Sequence[PrunableLinear] | None = None,
    ) -> dict[str, S]:
        """Run one block on all batches and reduce the inputs of its linears.

        Args:
            index: The block; the states must be those that enter it.
            measure: Makes a statistic of the inputs of one layer in one batch, [..., features].
            advance: Also keep its outputs, as inputs of the next block.
            linears: Watch these layers of the block only.

        Returns:
            The statistics by layer name.
        """
        sums = ActivationSums(self._linears[index] if linears is None else linears, measure)
        # Where a kernel may fail, a batch may have to be done over. Others are not kept to come back to:
        # Gram matrices are large, and MLX adds to them in place.
        kept = measure is square_sums

        def add(number: int) -> mx.array | None:
            """Run one batch, all of it or, in effect, nothing."""
            before = sums.so_far() if kept else None
            try:
                with sums.watching(), quick_functions():
                    out: mx.array | None = self.run(index, number)
                if not advance:
                    out = None  # the block's last product is never computed
                mx.eval(out, sums.arrays())
            except BaseException:
                if before is not None:
                    sums.go_back(before)
                raise
            return out

        for number in range(len(self.batches)):
            out = choice.attempt(partial(add, number))
            if out is not None:
                self.states.put(number, out)
            del out
        if advance:
            self.states.advance()
        return _over_all_processes(sums.result())

    def advance(self, index: int) -> None:
        """Run one block on all batches for its outputs alone."""
        for number in range(len(self.batches)):
            with quick_functions():
                out = self.run(index, number)
                mx.eval(out)
            self.states.put(number, out)
        self.states.advance()

    def run(self, index: int, number: int, hidden: mx.array | None = None) -> mx.array:
        """Run one block on one batch, or on other hidden states of that batch; the result is lazy."""
        if hidden is None:
            hidden = self.states.get(number)
        return replay(self._blocks[index], hidden, self._calls[number][index])


def _over_all_processes(sums: dict[str, S]) -> dict[str, S]:
    """Add up what every process measured; layers that share an input are added once."""
    if distributed.size() == 1:
        return sums
    added: dict[int, S] = {}
    for own in sums.values():
        if id(own) not in added:
            count = sum(distributed.gather_integers(own.count))
            whole: Any = dataclasses.replace(
                cast("Any", own), sums=distributed.all_sum(own.sums), count=count
            )
            added[id(own)] = whole
    return {name: added[id(own)] for name, own in sums.items()}


def batch_size(
    linears: list[list[PrunableLinear]], length: int, dtype: mx.Dtype, config: dict[str, Any]
) -> int:
    """Sequences per batch, so that a block's activations stay below half the memory of its weights.

    It depends on the model and the length alone, not on the machine: the last bits of a result may depend on
    the shape of a batch.

    Args:
        linears: The prunable linears of each block.
        length: Tokens per sequence.
        dtype: Compute type.
        config: The model's config.json, for the number of attention heads.

    Returns:
        At least 1.
    """
    largest = max(linears, key=lambda block: sum(linear.size for linear in block))
    weights = sum(linear.size for linear in largest) * dtype.size
    per_token = dtype.size * sum(_values_per_token(linear, config) for linear in largest)
    # Attention scores, where the backend materializes them.
    per_token += 4 * length * int(config.get("num_attention_heads") or 0)
    return max(1, max(_SMALLEST_BUDGET, weights // 2) // math.ceil(per_token * length))


def _values_per_token(linear: PrunableLinear, config: dict[str, Any]) -> float:
    """Inputs and outputs of a layer for one token; of an expert, for its share of the tokens."""
    values = linear.in_features + linear.out_features
    if linear.expert is None:
        return values
    experts: int = linear.module.num_experts
    return values * (experts_per_token(config) or experts) / experts
