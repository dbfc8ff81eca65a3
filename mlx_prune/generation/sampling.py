"""One seeded sampler for every engine: argmax of log-probability over temperature plus keyed Gumbel noise.

Adding independent Gumbel noise to scaled log-probabilities and taking the largest draws from the softmax
(the Gumbel-max trick). Noise is a function of an explicit key, never of MLX's global state, so a draw depends
on neither batch, order, engine nor rank; MLX's generator (threefry) gives every device the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlx_prune.generation.interface import GenerationSettings


def log_probabilities(logits: mx.array) -> mx.array:
    """Log-softmax over the last axis in the logits' own type, then float32.

    This is what ``mlx_lm.generate_step`` hands to a sampler; rounding to the model's type happens before the
    noise is added, so that every engine perturbs the same numbers.

    Args:
        logits: (..., vocabulary).
    """
    return (logits - mx.logsumexp(logits, axis=-1, keepdims=True)).astype(mx.float32)


def item_key(seed: int, item_id: str, step: int) -> tuple[int, int]:
    """The two 32-bit words of a random key for one draw, stable across platforms and versions."""
    digest = hashlib.blake2b(f"{seed}\x1f{step}\x1f{item_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")


class Noise:
    """Gumbel noise for draws identified by (seed, item, step)."""

    def __init__(self, kind: str, vocabulary: int) -> None:
        """Noise over a vocabulary.

        Args:
            kind: "item" or "seed" (see :class:`GenerationSettings`).
            vocabulary: Length of the logits.
        """
        self._kind = kind
        self._vocabulary = vocabulary
        self._chains: dict[int, tuple[mx.array, list[mx.array]]] = {}
        self._many = mx.vmap(lambda key: mx.random.gumbel((vocabulary,), key=key))

    def draw(self, pairs: Sequence[tuple[int, str]], step: int) -> mx.array:
        """Noise for several draws of one step.

        Args:
            pairs: (seed, item id) of each draw.
            step: Index of the token within the answer.

        Returns:
            (len(pairs), vocabulary) float32.
        """
        if self._kind == "seed":
            return mx.stack([self._of_seed(seed, step) for seed, _ in pairs])
        keys = [item_key(seed, item_id, step) for seed, item_id in pairs]
        noise: mx.array = self._many(mx.array(np.array(keys, dtype=np.uint32)))
        return noise

    def _of_seed(self, seed: int, step: int) -> mx.array:
        """The step's vector in the chain that ``mx.random.seed`` followed by one draw per token makes."""
        state, vectors = self._chains.get(seed) or (mx.random.key(seed), [])
        while len(vectors) <= step:
            state, key = mx.random.split(state)
            vectors.append(mx.random.gumbel((self._vocabulary,), key=key))
            mx.eval(state, vectors[-1])
        self._chains[seed] = (state, vectors)
        return vectors[step]


def perturb(logprobs: mx.array, temperature: float, noise: mx.array) -> mx.array:
    """Scores whose argmax is a draw at the temperature.

    Args:
        logprobs: (n, vocabulary) float32.
        temperature: Above 0.
        noise: (n, vocabulary) Gumbel noise.
    """
    return logprobs * (1.0 / temperature) + noise


class StreamSampler:
    """A sampler for one call of ``mlx_lm.stream_generate``: counts its own calls, which are the steps."""

    def __init__(self, settings: GenerationSettings, noise: Noise, seed: int, item_id: str) -> None:
        self._temperature = settings.temperature
        self._noise = noise
        self._pair = (seed, item_id)
        self._step = 0

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Draw a token.

        Args:
            logprobs: (1, vocabulary) log-probabilities of the next token.

        Returns:
            (1,) token ids.
        """
        scores = logprobs.astype(mx.float32)
        if self._temperature > 0:
            scores = perturb(scores, self._temperature, self._noise.draw([self._pair], self._step))
        self._step += 1
        return mx.argmax(scores, axis=-1)
