"""Logits that are not numbers: every draw from them would be token 0, and look like an answer."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten


class NotFiniteError(Exception):
    """The logits of an item are not numbers; the engine that meets it says so with :func:`not_finite`."""


def not_finite(model: Any, where: str, what: str = "logits") -> str:
    """The sentence about a model that computes NaN or infinity.

    Args:
        model: An mlx-lm model; its type of numbers tells the likely cause.
        where: On which input, as part of a sentence.
        what: What is not a number.
    """
    parameters = getattr(model, "parameters", dict)
    types = {array.dtype for _, array in tree_flatten(parameters())}
    if mx.float16 in types:
        cause = (
            "float16 holds no number beyond 65,504, so the model may need another type: try --dtype bfloat16"
        )
    else:
        cause = "its weights may be damaged: download it again, or prune it less"
    return f"The model's {what} {where} are not numbers (NaN); {cause}."
