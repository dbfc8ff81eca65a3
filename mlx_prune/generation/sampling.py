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
from numpy.typing import NDArray

from mlx_prune.generation.interface import GenerationSettings
from mlx_prune.generation.threefry import LARGEST_GUMBEL, gumbel_at

# Noise for a single token costs as much as noise for so many in MLX's own loop over all.
_COST_OF_ONE = 20


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

    @np.errstate(invalid="ignore")
    def chosen(
        self, scores: NDArray[np.float32], rows: Sequence[int], pairs: Sequence[tuple[int, str]], step: int
    ) -> NDArray[np.intp]:
        """Token with the highest sum of score and noise of each draw, its noise made only where it can win.

        No noise exceeds :data:`LARGEST_GUMBEL`, so a token whose score lies further than that below the sum
        of the best-scored one has lost whatever it draws: all but some dozens of 50,000 at temperature 0.3.

        Args:
            scores: (rows, vocabulary) log-probabilities over temperature.
            rows: Which row each draw reads.
            pairs: (seed, item id) of each draw.
            step: Index of the token within the answer.

        Returns:
            (len(pairs),) token ids, those of :func:`perturb` and argmax; -1 where scores are not numbers.
        """
        keys = np.array([item_key(seed, item_id, step) for seed, item_id in pairs], np.uint32)
        row = np.asarray(rows)
        best = scores.argmax(axis=1)
        highest = scores[np.arange(len(scores)), best]
        found = np.where(np.isnan(highest)[row], -1, best[row])
        sums = highest[row] + gumbel_at(keys, best[row], self._vocabulary)
        # A unit in the last place of the largest score, several times over.
        least = np.full(len(scores), np.inf, np.float32)
        np.fmin.at(least, row, sums - np.float32(LARGEST_GUMBEL + 1e-3))
        # What compares with a number that is none is false, so those rows have no token that can win.
        can_win = scores >= least[:, None]
        count = can_win.sum(axis=1)
        many = count * _COST_OF_ONE > self._vocabulary
        for number in np.flatnonzero(many):
            draws = np.flatnonzero(row == number)
            noise = np.array(self.draw([pairs[int(draw)] for draw in draws], step))
            found[draws] = (scores[number] + noise).argmax(axis=1)
        can_win[many] = False
        draws = np.flatnonzero((count > 0)[row] & ~many[row])
        if len(draws):
            found[draws] = self._best_of_few(scores, can_win, row[draws], keys[draws])
        return found

    def _best_of_few(
        self,
        scores: NDArray[np.float32],
        can_win: NDArray[np.bool_],
        row: NDArray[np.intp],
        keys: NDArray[np.uint32],
    ) -> NDArray[np.intp]:
        """The best token of each draw among those of its row that can win; a draw and a token are a pair."""
        tokens = np.nonzero(can_win)[1]
        count = can_win.sum(axis=1)
        first = np.cumsum(count) - count
        length = count[row]
        start = np.cumsum(length) - length
        draw = np.repeat(np.arange(len(row)), length)
        token = tokens[np.arange(len(draw)) + np.repeat(first[row] - start, length)]
        sums = scores[row[draw], token] + gumbel_at(keys[draw], token, self._vocabulary)
        highest = np.flatnonzero(sums == np.repeat(np.maximum.reduceat(sums, start), length))
        best: NDArray[np.intp] = token[highest[np.searchsorted(highest, start)]]
        return best

    @property
    def by_item(self) -> bool:
        """Whether every draw has noise of its own."""
        return self._kind == "item"

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
