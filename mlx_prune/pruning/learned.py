"""Quantizers that look at activations: mlx-lm's GPTQ, AWQ, DWQ and mixed bits, on the calibration text.

mlx-lm's commands fetch texts of their own; its functions take any tokens, and are called here as its commands
call them, with their settings.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx import optimizers
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.quant import awq, dwq, dynamic_quant, gptq
from mlx_lm.utils import quantize_model
from numpy.typing import NDArray

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.wired import wired_limit

# Settings of mlx-lm's own commands.
_GPTQ_FALLBACK = {"fallback_bits": 6, "fallback_group_size": 64}
_AWQ_EMBEDDING = {"embed_bits": 4, "embed_group_size": 32}
_DWQ_RATE = 1e-6
# Tokens of a batch, whose logits are in memory together with their gradients.
_BATCH_TOKENS = 2048
# Of the sequences, for DWQ's own check.
_HELD_OUT = 8
_MIXED_BITS = (2, 3, 4, 5, 6, 8)

_Quantized = tuple[nn.Module, dict[str, Any]]


@dataclass(frozen=True)
class _Job:
    """A network in the type that it runs in, and what to make of it."""

    source: Checkpoint
    network: nn.Module
    config: dict[str, Any]
    quantization: Quantization
    tokens: NDArray[np.int32]

    @property
    def batch(self) -> int:
        """Sequences whose logits are in memory at once."""
        count, length = self.tokens.shape
        return int(max(1, min(8, _BATCH_TOKENS // length, count)))


def quantize_learned(
    source: Checkpoint, quantization: Quantization, tokens: NDArray[np.int32], progress: ProgressCallback
) -> _Quantized:
    """Quantize a network by what a text makes it compute.

    Args:
        source: The dense checkpoint; computing is done in the type that it would run in.
        quantization: One with a quantizer.
        tokens: [samples, length] of the calibration text.
        progress: Told about the steps, stage "quantize".

    Returns:
        The network, and its configuration.

    Raises:
        RecipeError: The quantizer does not know the architecture, a layer's input size is no multiple of the
            group size, or the text is too short for it.
    """
    network, config = source.network_and_config("auto")
    config = {key: value for key, value in config.items() if key != "quantization"}
    _require_divisible(source, network, quantization)
    work = {"gptq": _gptq, "awq": _awq, "dwq": _dwq, "dynamic": _dynamic}[str(quantization.quantizer)]
    with wired_limit(network), _quietly(progress):
        try:
            return work(_Job(source, network, config, quantization, tokens))
        except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
            # Its functions walk the modules of architectures they were written for.
            raise RecipeError(
                f"mlx-lm's {quantization.quantizer} does not work on {source.path} "
                f"({config.get('model_type')}): {error}; choose another quantizer."
            ) from error


def _gptq(job: _Job) -> _Quantized:
    quantized, settings = gptq.gptq_quantize(
        job.network,
        mx.array(job.tokens),
        job.quantization.bits,
        job.quantization.group_size,
        batch_size=job.batch,
        **_GPTQ_FALLBACK,
    )
    return quantized, {**job.config, "quantization": settings}


def _awq(job: _Job) -> _Quantized:
    kind = job.config["model_type"]
    known = awq.AWQ_MODEL_CONFIGS.get(kind)
    if known is None:
        raise RecipeError(
            f"mlx-lm's AWQ does not know {kind} models such as {job.source.path}, only "
            f"{', '.join(sorted(awq.AWQ_MODEL_CONFIGS))}; choose another quantizer."
        )
    awq.awq_quantize(
        job.network,
        mx.array(job.tokens),
        known,
        bits=job.quantization.bits,
        group_size=job.quantization.group_size,
        **_AWQ_EMBEDDING,
    )
    return job.network, awq.update_config(job.network, job.config)


def _dwq(job: _Job) -> _Quantized:
    if len(job.tokens) < 2:
        raise RecipeError("DWQ learns on some sequences and checks on others; give two or more --samples.")
    held_out = max(1, min(_HELD_OUT, len(job.tokens) // 4))
    train, valid = (
        [(row.tolist(), 0) for row in part] for part in (job.tokens[held_out:], job.tokens[:held_out])
    )
    teacher = job.source.network("auto")
    network, config = quantize_model(
        job.network, job.config, job.quantization.group_size, job.quantization.bits
    )
    batch = min(job.batch, len(valid), len(train))
    dwq.dwq_quantize(
        network,
        lambda inputs, *_, **__: teacher(inputs),
        optimizers.Adam(learning_rate=_DWQ_RATE, bias_correction=True),
        train,
        valid,
        batch_size=batch,
        max_seq_length=job.tokens.shape[1],
        seed=job.quantization.seed or 0,
        dtype=getattr(mx, job.source.compute_dtype("auto")),
    )
    network.eval()
    return network, config


def _dynamic(job: _Job) -> _Quantized:
    target, group = job.quantization.bits_per_weight, job.quantization.group_size
    assert target is not None
    assert group is not None
    stored = job.source.network("stored")
    # Scale and offset of every group, in the type that the weights are stored in.
    extra = 2 * 8 * getattr(mx, job.source.stored_dtype).size / group
    low = max((bits for bits in _MIXED_BITS if bits + extra < target), default=None)
    high = min((bits for bits in _MIXED_BITS if bits + extra > target), default=None)
    if low is None or high is None:
        least, most = _MIXED_BITS[0] + extra, _MIXED_BITS[-1] + extra
        raise RecipeError(
            f"{target:g} bits per weight cannot be mixed for {job.source.path}: scales included, groups of "
            f"{group} take from {least:g} to {most:g}."
        )
    sensitivities = dict(
        dynamic_quant.estimate_sensitivities(
            job.network, mx.array(job.tokens), low, group, high, group, batch_size=job.batch
        )
    )
    if not all(map(math.isfinite, sensitivities.values())):
        raise CheckpointError(f"sensitivities of {job.source.path} are not finite; try dtype float32.")
    threshold = dynamic_quant.estimate_threshold(
        stored,
        sensitivities,
        target_bpw=target,
        low_bits=low,
        low_group_size=group,
        high_bits=high,
        high_group_size=group,
    )

    def chosen(path: str, module: nn.Module) -> bool | dict[str, int]:
        if not hasattr(module, "to_quantized"):
            return False
        return {"bits": high, "group_size": group} if sensitivities[path] > threshold else True

    network, config = quantize_model(job.network, job.config, group, low, quant_predicate=chosen)
    return network, config


def _require_divisible(source: Checkpoint, network: nn.Module, quantization: Quantization) -> None:
    group = quantization.group_size
    assert group is not None
    odd = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding | SwitchLinear) and module.weight.shape[-1] % group
    ]
    if odd:
        raise RecipeError(
            f"mlx-lm's {quantization.quantizer} needs input sizes that are multiples of {group}, which those "
            f"of {len(odd):,} layers of {source.path} are not ({odd[0]}); choose a smaller group size, or "
            "round."
        )


@contextlib.contextmanager
def _quietly(progress: ProgressCallback) -> Iterator[None]:
    """Let the functions tell of their steps by a callback in place of their own bars and lines."""

    class Bar:
        def __init__(self, iterable: Iterable[Any], total: int | None = None, **_: Any) -> None:
            self._iterable, self._total = iterable, total

        def __iter__(self) -> Iterator[Any]:
            total = self._total or (len(self._iterable) if isinstance(self._iterable, Sized) else 1)
            for number, item in enumerate(self._iterable):
                progress(Progress("quantize", min(number, total), total))
                yield item
            progress(Progress("quantize", total, total))

        def set_description(self, *_: Any, **__: Any) -> None:
            """Say nothing."""

        @staticmethod
        def write(*_: Any, **__: Any) -> None:
            """Say nothing."""

    modules: tuple[Any, ...] = (awq, dwq, dynamic_quant, gptq)
    before: list[Callable[..., Any]] = [module.tqdm for module in modules]
    for module in modules:
        module.tqdm = Bar
    state = np.random.get_state()  # its batches are drawn by NumPy's global generator
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        np.random.set_state(state)
        for module, bar in zip(modules, before, strict=True):
            module.tqdm = bar
