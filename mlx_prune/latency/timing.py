"""The time of one generation through mlx-lm, token by token, with nothing else inside.

Timed: mlx-lm's own ``generate_step`` from token ids to token ids, prompt processing, sampling (greedy) and
the arrival of each token on the host included. Outside: tokenization, the chat template, decoding to text,
and mlx-lm's wired limit, which ``bench`` sets around all rounds.
End-of-sequence tokens are ignored, so that every model does the same number of steps.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import generate_step, generation_stream

from mlx_prune.errors import CheckpointError
from mlx_prune.generation.finite import not_finite


@dataclass(frozen=True, slots=True)
class Timing:
    """One timed generation.

    Attributes:
        ttft_s: Seconds from the call to the first token.
        rest_s: Seconds from the first token to the last.
        new_tokens: Tokens generated.
        extra_bytes: Peak memory beyond what was in use before, in bytes: cache and activations.
    """

    ttft_s: float
    rest_s: float
    new_tokens: int
    extra_bytes: int

    @property
    def per_token_s(self) -> float:
        """Seconds per token after the first, NaN for a single token."""
        return self.rest_s / (self.new_tokens - 1) if self.new_tokens > 1 else math.nan


def time_generation(model: Any, prompt: mx.array, new_tokens: int) -> Timing:
    """Generate a fixed number of tokens and time their arrival.

    Args:
        model: An mlx-lm model with evaluated weights.
        prompt: (tokens,) token ids, evaluated.
        new_tokens: Tokens to generate, end-of-sequence tokens ignored; at least 1.

    Returns:
        The times, and the memory it took.

    Raises:
        CheckpointError: The model's logits are not numbers, so that what was timed is no generation.
    """
    mx.synchronize(generation_stream)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    first = last = 0.0
    start = time.perf_counter()
    steps = generate_step(prompt, model, max_tokens=new_tokens)
    logprobs = None
    for number, step in enumerate(itertools.islice(steps, new_tokens)):
        last = time.perf_counter()
        logprobs = step[1]
        if number == 0:
            first = last
    peak = mx.get_peak_memory()
    # generate_step has already begun a token that nobody takes: let it finish outside the next timing.
    steps.close()
    mx.synchronize(generation_stream)
    if logprobs is not None and mx.isnan(logprobs[0]).item():
        raise CheckpointError(not_finite(model, "in the prompts that are timed"))
    return Timing(first - start, last - first, new_tokens, max(0, peak - before))


def memory_bytes(model: Any) -> int:
    """Bytes of a model's parameters, quantization scales included; tied weights count once."""
    arrays = {id(array): array for _, array in tree_flatten(model.parameters())}
    return sum(int(array.nbytes) for array in arrays.values())
