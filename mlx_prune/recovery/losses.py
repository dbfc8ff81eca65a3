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


def training_loss(network: nn.Module, tokens: mx.array, expected: mx.array | None) -> mx.array:
    """The mean loss of a batch over its tokens, float32.

    Args:
        network: Maps tokens to logits.
        tokens: [batch, length].
        expected: The teacher's logits for all but the last token, [batch, length - 1, vocabulary]; None for
            the next-token loss.
    """
    logits = network(tokens[:, :-1]).astype(mx.float32)
    loss: mx.array
    if expected is None:
        loss = nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean")
    else:
        loss = kl_div_loss(logits, expected.astype(mx.float32)).mean()
    return loss


def held_out_losses(
    network: Any, sequences: NDArray[np.int32], batch_size: int, teacher: Any = None
) -> HeldOut:
    """Both losses on all held-out sequences.

    Args:
        network: Maps tokens to logits.
        sequences: [sequences, length].
        batch_size: Sequences per forward pass.
        teacher: Maps tokens to logits, too; None leaves the divergence out.

    Raises:
        DataError: A loss is not a number.
    """
    text, divergence = 0.0, 0.0
    for start in range(0, len(sequences), batch_size):
        tokens = mx.array(sequences[start : start + batch_size])
        logits = network(tokens[:, :-1]).astype(mx.float32)
        text += nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="sum").item()
        if teacher is not None:
            divergence += kl_div_loss(logits, teacher(tokens[:, :-1]).astype(mx.float32)).sum().item()
    tokens_in_all = sequences.shape[0] * (sequences.shape[1] - 1)
    found = HeldOut(text / tokens_in_all, None if teacher is None else divergence / tokens_in_all)
    if math.isnan(found.text) or math.isnan(found.distill or 0.0):
        raise DataError(
            "The losses on the held-out part are not numbers; try --dtype float32 or a smaller "
            "--learning-rate, and check that the checkpoints are sound."
        )
    return found
