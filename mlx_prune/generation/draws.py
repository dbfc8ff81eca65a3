"""Drawing the answers of several prompts token by token, one decode row per distinct continuation.

Next-token logits do not depend on the seed: seeds whose tokens agree so far read the same row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_prune.environment import backend
from mlx_prune.generation.finite import NotFiniteError
from mlx_prune.generation.interface import Answer, GenerationSettings, Prompt, PromptAnswers
from mlx_prune.generation.sampling import Noise, perturb
from mlx_prune.generation.tokens import AnswerText, LetterProbabilities, as_triples

# Bounds the (draws x vocabulary) arrays: 2**24 floats are 64 MB each.
_MOST_SCORES = 1 << 24


@dataclass
class _Open:
    """An answer that still grows, and the row that holds its next-token logits."""

    prompt: int
    seed: int
    row: int
    tokens: list[int]


@dataclass(frozen=True)
class Drawing:
    """How answers are drawn from a model's logits, and what is told of them.

    Attributes:
        settings: Temperature, seeds and length.
        noise: Over the model's vocabulary.
        end: Tokens that end an answer.
        letters: First-token probabilities of A, B and C.
        text: Of the tokens of an answer.
    """

    settings: GenerationSettings
    noise: Noise
    end: frozenset[int]
    letters: LetterProbabilities
    text: AnswerText


class Draws:
    """The answers of some prompts under all seeds.

    Attributes:
        rows: The rows to compute next, each as the present row that it continues and the token that it adds;
            empty when all answers are finished.
    """

    def __init__(self, prompts: Sequence[Prompt], drawing: Drawing, logprobs: mx.array) -> None:
        """The first token of every answer is drawn.

        Args:
            prompts: Row ``i`` of the log-probabilities belongs to prompt ``i``.
            drawing: How and from what is drawn.
            logprobs: (prompts, vocabulary) float32 log-probabilities of the first token.
        """
        self._prompts = prompts
        self._drawing = drawing
        self._settings = drawing.settings
        self._noise = drawing.noise
        self._step = 0
        self._all = [_Open(p, seed, p, []) for p in range(len(prompts)) for seed in self._settings.seeds]
        self._open = self._all
        self._letters = [as_triples(table) for table in drawing.letters(logprobs)]
        self.rows: list[tuple[int, int]] = []
        self.advance(logprobs)

    def advance(self, logprobs: mx.array) -> None:
        """Draw the next token of every open answer.

        Args:
            logprobs: (rows, vocabulary) float32 log-probabilities.

        Raises:
            NotFiniteError: A log-probability is not a number.
        """
        still_open = []
        rows: dict[tuple[int, int], int] = {}
        for answer, token in zip(self._open, self._draw(logprobs), strict=True):
            answer.tokens.append(token)
            if token not in self._drawing.end and len(answer.tokens) < self._settings.max_tokens:
                answer.row = rows.setdefault((answer.row, token), len(rows))
                still_open.append(answer)
        self._open = still_open
        self._step += 1
        self.rows = list(rows)

    def finished(self) -> Iterator[PromptAnswers]:
        """The finished answers of each prompt, in the order of the seeds."""
        count = len(self._settings.seeds)
        for index, (prompt, sharp, flat) in enumerate(zip(self._prompts, *self._letters, strict=True)):
            mine = self._all[index * count : (index + 1) * count]
            yield PromptAnswers(prompt.item_id, sharp, flat, tuple(self._answer(prompt, a) for a in mine))

    def _answer(self, prompt: Prompt, drawn: _Open) -> Answer:
        text = self._drawing.text(tuple(drawn.tokens))
        return Answer(prompt.item_id, drawn.seed, text, tuple(drawn.tokens), len(prompt.tokens), None)

    def _draw(self, logprobs: mx.array) -> list[int]:
        if self._settings.temperature == 0:
            best = self._best(logprobs)
            return [int(best[answer.row]) for answer in self._open]
        if self._noise.by_item and backend() == "cpu":
            return self._draw_few(logprobs)
        size = max(1, _MOST_SCORES // logprobs.shape[-1])
        tokens: list[int] = []
        for start in range(0, len(self._open), size):
            some = self._open[start : start + size]
            noise = self._noise.draw([(a.seed, self._prompts[a.prompt].item_id) for a in some], self._step)
            chosen = logprobs[mx.array([answer.row for answer in some], mx.uint32)]
            best = self._best(perturb(chosen, self._settings.temperature, noise))
            tokens.extend(int(token) for token in best)
        return tokens

    def _draw_few(self, logprobs: mx.array) -> list[int]:
        """The same tokens with little of the noise: on a CPU that takes most of the time of a draw."""
        pairs = [(a.seed, self._prompts[a.prompt].item_id) for a in self._open]
        scores = np.array(logprobs * (1.0 / self._settings.temperature))
        tokens = self._noise.chosen(scores, [answer.row for answer in self._open], pairs, self._step)
        if (tokens < 0).any():
            raise NotFiniteError(self._prompts[self._open[0].prompt].item_id)
        return [int(token) for token in tokens]

    def _best(self, scores: mx.array) -> NDArray[np.uint32]:
        """Token with the highest score of each row."""
        best = mx.argmax(scores, axis=-1)
        # The softmax spreads one NaN over its whole row, so that a single score of it tells.
        highest = mx.take_along_axis(scores, best[:, None], axis=-1)[:, 0]
        mx.eval(best, highest)
        if np.isnan(np.array(highest)).any():
            raise NotFiniteError(self._prompts[self._open[0].prompt].item_id)
        return np.array(best)
