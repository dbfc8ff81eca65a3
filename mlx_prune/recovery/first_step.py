"""Before training, matrices are fitted to the dense ones, once; what carries on finds them on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears
from mlx_prune.errors import RecipeError
from mlx_prune.progress import ProgressCallback
from mlx_prune.recovery.data import TrainingData
from mlx_prune.recovery.eora import filling, merging
from mlx_prune.recovery.files import FIRST_STEP_FILE
from mlx_prune.recovery.least_squares import fit_network, sample_of
from mlx_prune.recovery.losses import HeldOut, held_out_losses
from mlx_prune.recovery.settings import AUTO, DISTILL, EORA, LEAST_SQUARES, NONE, Recovery
from mlx_prune.recovery.state import read_arrays, write_arrays


@dataclass(frozen=True)
class FirstStep:
    """What the first step brought.

    Attributes:
        before: Held-out losses of the pruned model.
        after: With its matrices fitted.
        sequences: That they were fitted on.
        error_before: Mean over matrices of ``||(W - D) X||^2 / ||D X||^2`` on the text, D being dense.
        error_after: The same with the matrices fitted.
        seconds: It took.
        method: LEAST_SQUARES or EORA.
    """

    before: HeldOut
    after: HeldOut
    sequences: int
    error_before: float
    error_after: float
    seconds: float
    method: str = LEAST_SQUARES

    @property
    def taken(self) -> bool:
        """Whether what was fitted is used: not where they are further from the teacher than before."""
        return self.after.of(DISTILL) <= self.before.of(DISTILL)

    @property
    def left(self) -> HeldOut:
        """The held-out losses of the weights that are used."""
        return self.after if self.taken else self.before

    def to_json(self) -> dict[str, Any]:
        """As recorded."""
        return {
            "method": self.method,
            "sequences": self.sequences,
            "taken": self.taken,
            "held_out": self.after.to_json(),
            "error_before": self.error_before,
            "error_after": self.error_after,
            "seconds": round(self.seconds, 3),
        }


def fits(settings: Recovery, linears: list[PrunableLinear], dense: list[PrunableLinear] | None) -> bool:
    """Whether there is a first step to take.

    Args:
        settings: What was asked for.
        linears: The pruned model's matrices; quantized ones, too.
        dense: The teacher's; None if it has none in floats, or there is no teacher.

    Raises:
        RecipeError: It was asked for and cannot be taken.
    """
    if settings.first_step == NONE:
        return False
    wanted, found = (
        {linear.name: (linear.out_features, linear.in_features) for linear in some}
        for some in (dense or (), linears)
    )
    if wanted == found:
        return True
    if settings.first_step != AUTO:
        why = "has no teacher" if settings.loss != DISTILL else "needs a dense teacher of the same shapes"
        raise RecipeError(f"--first-step {settings.first_step} {why}; leave it out.")
    return False


def take_first_step(
    network: nn.Module,
    teacher: Any,
    data: TrainingData,
    settings: Recovery,
    config: dict[str, Any],
    place: tuple[Path, str],
    progress: ProgressCallback,
    adapters: dict[str, nn.Module] | None = None,
) -> FirstStep:
    """Fit the matrices of a network, or take over what an earlier attempt fitted.

    Args:
        network: The pruned model, in memory; its weights are replaced.
        teacher: The dense model, in memory.
        data: Sequences.
        settings: Which way, the rank, and the size of a batch.
        config: The pruned model's config.json.
        place: The folder in the making, and the fingerprint of the recovery.
        progress: Told after each block, stage "least squares" or "EoRA".
        adapters: Low-rank layers beside whose weights the updates stay, by their path.
    """
    folder, fingerprint = place
    file = folder / FIRST_STEP_FILE
    found = read_arrays(file, fingerprint)
    if adapters is None:
        layers = {linear.layer: linear.module for linear in prunable_linears(network)}
        parts: tuple[str, ...] = ("weight",)
        method = LEAST_SQUARES if settings.first_step == AUTO else settings.first_step
    else:
        layers, parts, method = adapters, ("lora_a", "lora_b"), EORA
    if found is not None:
        content, arrays = found
        step = FirstStep(HeldOut(**content.pop("before")), HeldOut(**content.pop("after")), **content)
        _put(layers, arrays)
        return step
    started = time.monotonic()
    held_out = data.held_out, settings.batch_size, teacher, data.held_out_marks
    before = held_out_losses(network, *held_out)
    pruned = _taken(layers, parts)
    sample = sample_of(data, prunable_linears(network, quantized=True))
    if method == EORA:
        way = "EoRA", merging(settings.rank) if adapters is None else filling(adapters)
        errors = fit_network(network, teacher, sample, config, progress, way)
    else:
        errors = fit_network(network, teacher, sample, config, progress)
    after = held_out_losses(network, *held_out)
    step = FirstStep(
        before,
        after,
        len(sample.tokens),
        sum(fit.before for fit in errors.values()) / max(1, len(errors)),
        sum(fit.after for fit in errors.values()) / max(1, len(errors)),
        time.monotonic() - started,
        method,
    )
    if not step.taken:
        _put(layers, pruned)
    kept = _taken(layers, parts) if step.taken else {}
    write_arrays(file, kept, fingerprint, asdict(step))
    return step


def _taken(layers: dict[str, nn.Module], parts: Sequence[str]) -> dict[str, mx.array]:
    return {f"{name}.{part}": layer[part] for name, layer in layers.items() for part in parts}


def _put(layers: dict[str, nn.Module], arrays: dict[str, mx.array]) -> None:
    for path, array in arrays.items():
        name, _, part = path.rpartition(".")
        layers[name][part] = array
