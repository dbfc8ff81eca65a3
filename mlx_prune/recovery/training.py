"""The loop: steps of Adam, evaluations on the held-out part, and a state on disk to carry on from."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from mlx_prune.activations.blocks import calls_replaced
from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.errors import DataError
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.recovery.data import TrainingData
from mlx_prune.recovery.losses import HeldOut, held_out_losses, training_loss
from mlx_prune.recovery.settings import Recovery
from mlx_prune.recovery.state import Progressed, read_state, write_state

_WARM_UP = 0.05  # of the steps
_LOWEST = 0.1  # of the learning rate, at the end of a cosine
_LARGEST_NORM = 1.0  # of a step's gradient
_EVALUATIONS = 5  # in a whole training
_SECONDS_BETWEEN_STATES = 60.0
_TIMES_OF_A_STATE = 30.0  # its own time, at least, is between one written state and the next


@dataclass
class Training:
    """One training, from its first step or from where an earlier attempt was stopped.

    Attributes:
        network: With layers that can be trained in place (:func:`~mlx_prune.recovery.layers.adapt`).
        teacher: Maps tokens to logits; None where the loss is on the text.
        data: Sequences.
        settings: How to train.
        folder: Where the state is kept.
        fingerprint: Of all that the result follows from.
        start: The held-out losses before the first step, where they are known already.
    """

    network: nn.Module
    teacher: Any
    data: TrainingData
    settings: Recovery
    folder: Path
    fingerprint: str
    start: HeldOut | None = None
    progressed: Progressed = field(init=False)

    def __post_init__(self) -> None:
        self._optimizer = optimizers.Adam(self.settings.rate, bias_correction=True)
        self._optimizer.init(self.network.trainable_parameters())
        self._best = self._parameters()
        self.progressed = Progressed(self.fingerprint)
        found = read_state(self.folder, self.fingerprint)
        if found is not None:
            self.progressed, arrays = found
            self._take_up(arrays)

    @property
    def every(self) -> int:
        """Steps between two evaluations."""
        return max(1, math.ceil(self.settings.steps / _EVALUATIONS))

    @property
    def before(self) -> HeldOut:
        """The held-out losses before the first step."""
        return _held_out(self.progressed.evaluations[0])

    def run(self, progress: ProgressCallback) -> None:
        """Train to the end, and leave the best weights that were seen in the network.

        Raises:
            DataError: A loss is not a number.
            RecordsError: The state cannot be written.
        """
        done, total = self.progressed, self.settings.steps
        saved = started = time.monotonic()
        pause = _SECONDS_BETWEEN_STATES
        earlier = done.seconds
        step_of = nn.value_and_grad(self.network, training_loss)
        self.network.train()
        with self._checkpointed():
            while not done.finished:
                # After a kill the state may be of a step that was evaluated already.
                known = bool(done.evaluations) and done.evaluations[-1]["step"] == done.step
                if not known and (done.step % self.every == 0 or done.step == total):
                    self._evaluate()
                    done.finished = done.step >= total or done.since_best >= self.settings.patience
                if done.finished or time.monotonic() - saved > pause:
                    done.seconds = earlier + time.monotonic() - started
                    begun = time.monotonic()
                    self._save()
                    saved = time.monotonic()
                    pause = max(_SECONDS_BETWEEN_STATES, _TIMES_OF_A_STATE * (saved - begun))
                if done.finished:
                    break
                begun = time.monotonic()
                loss, tokens = self._step(step_of)
                rate = tokens / max(1e-9, time.monotonic() - begun)
                progress(Progress("recover", done.step, total, f"loss {loss:.4f}, {rate:,.0f} tokens/s"))
        done.peak_memory_bytes = max(done.peak_memory_bytes, mx.get_peak_memory())
        self.network.update(tree_unflatten(list(self._best.items())))
        self.network.eval()

    def _step(self, step_of: Any) -> tuple[float, int]:
        done = self.progressed
        chosen, marks = self._batch(done.step), self.data.train_marks
        tokens = mx.array(self.data.train[chosen])
        expected = None if self.teacher is None else mx.stop_gradient(self.teacher(tokens[:, :-1]))
        loss, gradient = step_of(
            self.network, tokens, expected, None if marks is None else mx.array(marks[chosen])
        )
        gradient, _ = optimizers.clip_grad_norm(gradient, _LARGEST_NORM)
        self._optimizer.learning_rate = self._rate(done.step)
        self._optimizer.update(self.network, gradient)
        mx.eval(loss, self.network.trainable_parameters(), self._optimizer.state)
        value = float(loss.item())
        if not math.isfinite(value):
            raise DataError(
                f"The loss of step {done.step + 1} is not a number; try a smaller --learning-rate or "
                "--dtype float32."
            )
        done.step += 1
        done.peak_memory_bytes = max(done.peak_memory_bytes, mx.get_peak_memory())
        return value, tokens.shape[0] * (tokens.shape[1] - 1)

    def _rate(self, step: int) -> float:
        """The learning rate of a step: a short warm-up, then a cosine."""
        total = self.settings.steps
        warm = max(1, round(_WARM_UP * total))
        if step < warm:
            return self.settings.rate * (step + 1) / warm
        past = (step - warm) / max(1, total - warm)
        return self.settings.rate * (_LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * past)))

    def _batch(self, step: int) -> list[int]:
        """The sequences of a step; each epoch has an order of its own, known without those before."""
        count = len(self.data.train)
        size = self.settings.batch_size
        chosen: list[int] = []
        for place in range(step * size, (step + 1) * size):
            epoch, within = divmod(place, count)
            chosen.append(int(_order(count, self.settings.seed, epoch)[within]))
        return chosen

    def _evaluate(self) -> None:
        done = self.progressed
        found = self.start if done.step == 0 else None
        if found is None:
            self.network.eval()
            data = self.data
            found = held_out_losses(
                self.network, data.held_out, self.settings.batch_size, self.teacher, data.held_out_marks
            )
            self.network.train()
        value = found.of(self.settings.loss)
        best = min((_held_out(entry).of(self.settings.loss) for entry in done.evaluations), default=math.inf)
        done.evaluations.append({"step": done.step, **found.to_json()})
        if value < best:
            done.best_step, done.since_best = done.step, 0
            self._best = self._parameters()
        else:
            done.since_best += 1

    def _parameters(self) -> dict[str, mx.array]:
        return dict(tree_flatten(self.network.trainable_parameters()))

    def _save(self) -> None:
        parts = {
            "now": self._parameters(),
            "best": self._best,
            "optimizer": dict(tree_flatten(self._optimizer.state)),
        }
        arrays = {f"{part}/{name}": array for part, found in parts.items() for name, array in found.items()}
        write_state(self.folder, self.progressed, arrays)

    def _take_up(self, arrays: dict[str, mx.array]) -> None:
        parts: dict[str, dict[str, mx.array]] = {"now": {}, "best": {}, "optimizer": {}}
        for name, array in arrays.items():
            part, _, inner = name.partition("/")
            parts[part][inner] = array
        self.network.update(tree_unflatten(list(parts["now"].items())))
        self._best = parts["best"]
        self._optimizer.state = tree_unflatten(list(parts["optimizer"].items()))

    @contextlib.contextmanager
    def _checkpointed(self) -> Iterator[None]:
        """Where it was asked for, blocks keep no activations for the backward pass (as mlx-lm's trainer)."""
        if not self.settings.grad_checkpoint:
            yield
            return

        def again(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
            own = type(block).__mro__[1].__call__

            def inner(parameters: Any, *args: Any, **kwargs: Any) -> Any:
                block.update(parameters)
                return own(block, *args, **kwargs)

            return mx.checkpoint(inner)(block.trainable_parameters(), *args, **kwargs)

        with calls_replaced(blocks(self.network), again):
            yield


def _order(count: int, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def _held_out(entry: dict[str, Any]) -> HeldOut:
    return HeldOut(entry["loss"], entry["divergence"])
