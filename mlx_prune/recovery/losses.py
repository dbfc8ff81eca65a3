"""What a recovery makes small, and what it is judged by on the held-out part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.tuner.losses import kl_div_loss
from numpy.typing import NDArray

from mlx_prune.errors import DataError
from mlx_prune.recovery.settings import DISTILL


@dataclass(frozen=True)
class HeldOut:
    """Losses on the held-out part, in nats per token.

    Attributes:
        text: Next-token loss; its exponential is a perplexity.
        distill: Divergence from the teacher, KL(teacher || model); None without a teacher.
    """

    text: float
    distill: float | None = None

    def of(self, loss: str) -> float:
        """The one that training makes small."""
        return self.distill if loss == DISTILL and self.distill is not None else self.text

    def to_json(self) -> dict[str, float | None]:
        """As recorded."""
        value = math.exp(self.text) if self.text < math.log(1e300) else math.inf
        return {"loss": self.text, "perplexity": value, "divergence": self.distill}


def training_loss(
    network: nn.Module, tokens: mx.array, expected: mx.array | None, marks: mx.array | None = None
) -> mx.array:
    """The mean loss of a batch over its tokens, or those that are marked, float32.

    Args:
        network: Maps tokens to logits.
        tokens: [batch, length].
        expected: The teacher's logits for all but the last token, [batch, length - 1, vocabulary]; None for
            the next-token loss.
        marks: [batch, length], which tokens are to be learned (as mlx_lm.lora's --mask-prompt); None for all.
    """
    logits = network(tokens[:, :-1]).astype(mx.float32)
    losses: mx.array
    if expected is None:
        losses = nn.losses.cross_entropy(logits, tokens[:, 1:])
    else:
        losses = kl_div_loss(logits, expected.astype(mx.float32))
    if marks is None:
        return losses.mean()
    return mx.array((losses * marks[:, 1:]).sum() / marks[:, 1:].sum())


def held_out_losses(
    network: Any,
    sequences: NDArray[np.int32],
    batch_size: int,
    teacher: Any = None,
    marks: NDArray[np.bool_] | None = None,
) -> HeldOut:
    """Both losses on all held-out sequences: means over tokens, or those that are marked.

    Args:
        network: Maps tokens to logits.
        sequences: [sequences, length].
        batch_size: Sequences per forward pass.
        teacher: Maps tokens to logits, too; None leaves the divergence out.
        marks: [sequences, length], which tokens count; None for all.

    Raises:
        DataError: A loss is not a number.
    """
    text, divergence = 0.0, 0.0
    counted = np.ones(sequences.shape, bool) if marks is None else marks
    for start in range(0, len(sequences), batch_size):
        tokens = mx.array(sequences[start : start + batch_size])
        count = mx.array(counted[start : start + batch_size, 1:])
        logits = network(tokens[:, :-1]).astype(mx.float32)
        text += (nn.losses.cross_entropy(logits, tokens[:, 1:]) * count).sum().item()
        if teacher is not None:
            found = kl_div_loss(logits, teacher(tokens[:, :-1]).astype(mx.float32))
            divergence += (found * count).sum().item()
    tokens_in_all = int(counted[:, 1:].sum())
    losses = HeldOut(text / tokens_in_all, None if teacher is None else divergence / tokens_in_all)
    if math.isnan(losses.text) or math.isnan(losses.distill or 0.0):
        raise DataError(
            "The losses on the held-out part are not numbers; try --dtype float32 or a smaller "
            "--learning-rate, and check that the checkpoints are sound."
        )
    return losses
