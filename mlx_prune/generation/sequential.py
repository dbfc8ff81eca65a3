"""One answer at a time through ``mlx_lm.stream_generate``, each timed: the reference, and the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm import stream_generate

from mlx_prune.errors import CheckpointError
from mlx_prune.generation.finite import not_finite
from mlx_prune.generation.interface import Answer, GenerationSettings, Prompt, PromptAnswers
from mlx_prune.generation.sampling import Noise, StreamSampler
from mlx_prune.generation.tokens import LetterProbabilities, as_triples

ITEMS_PER_YIELD = 16


class SequentialEngine:
    """Answers prompts one seed after the other, each by its own prefill and decode."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        settings: GenerationSettings,
        *,
        batch_size: int | None = None,
    ) -> None:
        """An engine for a model.

        Args:
            model: An mlx-lm model.
            tokenizer: Its mlx-lm ``TokenizerWrapper``.
            settings: How answers are drawn.
            batch_size: Items per yielded list (16); generation itself is never batched here.
        """
        self.settings = settings
        self.batch_size: int | None = batch_size or ITEMS_PER_YIELD
        self.note = ""
        self._model = model
        self._tokenizer = tokenizer
        self._letters = LetterProbabilities(tokenizer, settings.temperature, settings.letters)
        self._noise: Noise | None = None

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[list[PromptAnswers]]:
        """Answer every prompt once per seed, in the order given."""
        size = self.batch_size or ITEMS_PER_YIELD
        for start in range(0, len(prompts), size):
            yield [self._answer(prompt) for prompt in prompts[start : start + size]]

    def _answer(self, prompt: Prompt) -> PromptAnswers:
        answers = []
        first = mx.array(0.0)
        for seed in self.settings.seeds:
            answer, first = self.one(prompt, seed)
            answers.append(answer)
        sharp, plain = self._letters(first.astype(mx.float32)[None])
        return PromptAnswers(prompt.item_id, as_triples(sharp)[0], as_triples(plain)[0], tuple(answers))

    def one(self, prompt: Prompt, seed: int) -> tuple[Answer, mx.array]:
        """One answer under one seed, and the (vocabulary,) log-probabilities of its first token.

        Raises:
            CheckpointError: The model's logits are not numbers.
        """
        if self._noise is None:
            self._noise = Noise(self.settings.noise, self._vocabulary(prompt))
        sampler = StreamSampler(self.settings, self._noise, seed, prompt.item_id)
        start = time.perf_counter()
        responses = list(
            stream_generate(
                self._model,
                self._tokenizer,
                list(prompt.tokens),
                max_tokens=self.settings.max_tokens,
                sampler=sampler,
            )
        )
        elapsed = time.perf_counter() - start
        if mx.isnan(mx.stack([response.logprobs[response.token] for response in responses])).any().item():
            raise CheckpointError(not_finite(self._model, f"for {prompt.item_id}"))
        text = "".join(response.text for response in responses)
        tokens = tuple(int(response.token) for response in responses)
        answer = Answer(prompt.item_id, seed, text, tokens, len(prompt.tokens), elapsed)
        return answer, responses[0].logprobs

    def _vocabulary(self, prompt: Prompt) -> int:
        return int(self._model(mx.array([prompt.tokens[:1]])).shape[-1])
