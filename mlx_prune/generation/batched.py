"""Many answers at once, the same as one at a time: shared prefixes, shared seeds, one decode per batch.

One prefill per item serves every seed; what prompts have in common is computed once; a decode row exists only
per distinct continuation (``draws``); the vocabulary head runs only where a token is drawn (``head``). On a
CPU the tokens of many prompts are one sequence (``packed``) where the model allows it; else, and on a GPU,
prompts are rows (``rowwise``). Which of it a model allows is tried, not assumed (``probe``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune._blas import leaving_a_core
from mlx_prune.environment import backend
from mlx_prune.errors import CheckpointError
from mlx_prune.generation import plain, probe
from mlx_prune.generation.dequantized import dequantized
from mlx_prune.generation.draws import Drawing
from mlx_prune.generation.finite import NotFiniteError, not_finite
from mlx_prune.generation.head import find_backbone
from mlx_prune.generation.interface import GenerationSettings, Prompt, PromptAnswers
from mlx_prune.generation.memory import choose_batch_size
from mlx_prune.generation.packing import PackedAnswers
from mlx_prune.generation.rowwise import RowAnswers
from mlx_prune.generation.sampling import Noise
from mlx_prune.generation.tokens import AnswerText, LetterProbabilities
from mlx_prune.shares import keep_freed_memory
from mlx_prune.wired import wired_limit

# Where items are answered one by one, so many make a batch.
_ITEMS_PER_YIELD = 16


class BatchedEngine:
    """Answers prompts in batches.

    Attributes:
        settings: How answers are drawn.
        batch_size: Items in flight; None until the first call has chosen it.
        sharing: Whether prompts share caches. False for a model whose cache cannot be shared, or whose
            shared computation was seen to differ from its own; its items are then answered one by one, still
            with one prefill for all seeds. None before the first call.
        note: Why there is no sharing, as a sentence; empty if there is.
    """

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
            batch_size: Items in flight; None chooses from the model's size and the free memory.
        """
        self.settings = settings
        self.batch_size = batch_size
        self.sharing: bool | None = None
        self.note = ""
        self._model = model
        self._backbone = find_backbone(model)
        self._text = AnswerText(tokenizer, settings.max_tokens)
        self._end = frozenset(int(token) for token in tokenizer.eos_token_ids)
        self._letters = LetterProbabilities(tokenizer, settings.temperature, settings.letters)
        self._drawing: Drawing | None = None
        self._together: PackedAnswers | RowAnswers | None = None

    @property
    def packed(self) -> bool:
        """Whether forwards take the tokens of many prompts as one sequence, without padding."""
        return isinstance(self._together, PackedAnswers)

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[list[PromptAnswers]]:
        """Answer every prompt once per seed; batches come longest shared beginning first.

        From the first batch to the last it runs inside mlx-lm's wired limit, as mlx-lm's own generation does,
        and on a CPU with the values of quantized layers, a core left to Python, and freed memory kept for the
        arrays to come, also afterwards.

        Raises:
            CheckpointError: The model's logits are not numbers.
        """
        if not prompts:
            return
        if backend() == "cpu":
            keep_freed_memory()
        try:
            with dequantized(self._model), wired_limit(self._model), leaving_a_core():
                yield from self._answer(prompts)
        except NotFiniteError as error:
            raise CheckpointError(not_finite(self._model, f"near {error}")) from None

    def _answer(self, prompts: Sequence[Prompt]) -> Iterator[list[PromptAnswers]]:
        self._measure(prompts)
        assert self.batch_size is not None
        assert self._drawing is not None
        if self.sharing is None:
            found = probe.try_out(self._model, self._backbone, prompts)
            self.note, self.sharing = found.fault, not found.fault
            if found.packed:
                self._together = PackedAnswers(self._model, self._backbone, self._drawing)
            elif self.sharing:
                self._together = RowAnswers(
                    self._model, self._backbone, self._drawing, found.ragged, found.mask_axes
                )
        if self._together is None:
            for start in range(0, len(prompts), _ITEMS_PER_YIELD):
                yield [self._answer_alone(prompt) for prompt in prompts[start : start + _ITEMS_PER_YIELD]]
            return
        for batch in self._together.batches(prompts, self.batch_size):
            yield batch
            # Batches differ in shape, so MLX could not reuse what it keeps.
            mx.clear_cache()

    def _measure(self, prompts: Sequence[Prompt]) -> None:
        """Learn the vocabulary and the size of the cache from one token, once."""
        if self._drawing is not None:
            return
        cache = make_prompt_cache(self._model)
        logits = self._model(mx.array([prompts[0].tokens[:1]]), cache=cache)
        mx.eval(logits)
        vocabulary = int(logits.shape[-1])
        noise = Noise(self.settings.noise, vocabulary)
        self._drawing = Drawing(self.settings, noise, self._end, self._letters, self._text)
        if self.batch_size is None:
            self.batch_size = choose_batch_size(
                self._model,
                cache_bytes_per_token=_bytes_per_token(cache),
                prompt_tokens=max(len(prompt.tokens) for prompt in prompts) + self.settings.max_tokens,
                vocabulary=vocabulary,
                seeds=len(self.settings.seeds),
            )

    def _answer_alone(self, prompt: Prompt) -> PromptAnswers:
        assert self._drawing is not None
        return plain.decode(self._model, prompt, self._drawing)


def _bytes_per_token(cache: Sequence[Any]) -> int:
    total = 0
    for layer in cache:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        for array in (keys, values):
            if isinstance(array, mx.array):
                total += array.nbytes // array.shape[2]
    return max(total, 1)
