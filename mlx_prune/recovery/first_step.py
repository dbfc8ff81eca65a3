"""Before training, the kept weights of masks are fitted, once; what carries on finds them on disk."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears
from mlx_prune.errors import RecipeError
from mlx_prune.progress import ProgressCallback
from mlx_prune.recovery.data import TrainingData
from mlx_prune.recovery.files import FIRST_STEP_FILE
from mlx_prune.recovery.least_squares import fit_network, sample_of
from mlx_prune.recovery.losses import HeldOut, held_out_losses
from mlx_prune.recovery.settings import AUTO, DISTILL, LEAST_SQUARES, NONE, Recovery
from mlx_prune.recovery.state import read_arrays, write_arrays


@dataclass(frozen=True)
class FirstStep:
    """What the first step brought.

    Attributes:
        before: Held-out losses of the pruned model.
        after: With its kept weights fitted.
        sequences: That they were fitted on.
        error_before: Mean over matrices of ``||(W - D) X||^2 / ||D X||^2`` on the text, D being dense.
        error_after: The same with the kept weights fitted.
        seconds: It took.
    """

    before: HeldOut
    after: HeldOut
    sequences: int
    error_before: float
    error_after: float
    seconds: float

    @property
    def taken(self) -> bool:
        """Whether the fitted weights are used: not where they are further from the teacher than before."""
        return self.after.of(DISTILL) <= self.before.of(DISTILL)

    @property
    def left(self) -> HeldOut:
        """The held-out losses of the weights that are used."""
        return self.after if self.taken else self.before

    def to_json(self) -> dict[str, Any]:
        """As recorded."""
        return {
            "method": LEAST_SQUARES,
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
        linears: The pruned model's matrices.
        dense: The teacher's; None if it has none in floats, or there is no teacher.

    Raises:
        RecipeError: It was asked for and cannot be taken.
    """
    if settings.first_step == NONE:
        return False
    shapes = {linear.name: linear.module.weight.shape for linear in dense or ()}
    if shapes == {linear.name: linear.module.weight.shape for linear in linears}:
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
) -> FirstStep:
    """Fit the kept weights in a network, or take over what an earlier attempt fitted.

    Args:
        network: The pruned model, in memory; its weights are replaced.
        teacher: The dense model, in memory.
        data: Sequences.
        settings: For the size of a batch.
        config: The pruned model's config.json.
        place: The folder in the making, and the fingerprint of the recovery.
        progress: Told after each block, stage "least squares".
    """
    folder, fingerprint = place
    file = folder / FIRST_STEP_FILE
    found = read_arrays(file, fingerprint)
    layers = {linear.layer: linear.module for linear in prunable_linears(network)}
    if found is not None:
        content, arrays = found
        step = FirstStep(HeldOut(**content.pop("before")), HeldOut(**content.pop("after")), **content)
        _put(layers, arrays)
        return step
    started = time.monotonic()
    held_out = data.held_out, settings.batch_size, teacher, data.held_out_marks
    before = held_out_losses(network, *held_out)
    pruned = {name: module.weight for name, module in layers.items()}
    sample = sample_of(data, prunable_linears(network))
    errors = fit_network(network, teacher, sample, config, progress)
    after = held_out_losses(network, *held_out)
    step = FirstStep(
        before,
        after,
        len(sample.tokens),
        sum(fit.before for fit in errors.values()) / max(1, len(errors)),
        sum(fit.after for fit in errors.values()) / max(1, len(errors)),
        time.monotonic() - started,
    )
    if not step.taken:
        _put(layers, pruned)
    kept = {name: module.weight for name, module in layers.items()} if step.taken else {}
    write_arrays(file, kept, fingerprint, asdict(step))
    return step


def _put(layers: dict[str, nn.Module], weights: dict[str, mx.array]) -> None:
    for name, weight in weights.items():
        layers[name].weight = weight
