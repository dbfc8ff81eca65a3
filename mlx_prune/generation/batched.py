"""Many answers at once, the same as one at a time: shared prefixes, shared seeds, one decode per batch.

One prefill per item serves every seed; what prompts have in common is computed once (``prefixes``); a decode
row exists only per distinct continuation (``draws``); the vocabulary head runs only where a token is drawn
(``head``). Models, masks and rotary positions are mlx-lm's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.environment import backend
from mlx_prune.errors import CheckpointError
from mlx_prune.generation import plain, probe
from mlx_prune.generation.draws import Draws
from mlx_prune.generation.finite import NotFiniteError, not_finite
from mlx_prune.generation.head import find_backbone, logits_at
from mlx_prune.generation.interface import GenerationSettings, Prompt, PromptAnswers
from mlx_prune.generation.memory import choose_batch_size
from mlx_prune.generation.prefixes import Group, Plan, plan
from mlx_prune.generation.rows import Part, RowCache, joined, row_caches
from mlx_prune.generation.sampling import Noise, log_probabilities
from mlx_prune.generation.tokens import AnswerText, LetterProbabilities, as_triples
from mlx_prune.wired import wired_limit

# Rows of a forward are padded on the right to its longest; this much at most.
_MOST_PADDING = 1.15
# Prompts from which on a decode is worth its forward: with some three rows each, a CPU's products of matrices
# come near their best. A GPU takes all of a batch.
_DECODED_TOGETHER = {"cpu": 24, "metal": 1 << 30, "cuda": 1 << 30}
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
        ragged: Whether prompts of different lengths are decoded together; else those of one length are.
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
        self.ragged = False
        self.note = ""
        self._model = model
        self._backbone = find_backbone(model)
        self._text = AnswerText(tokenizer, settings.max_tokens)
        self._end = frozenset(int(token) for token in tokenizer.eos_token_ids)
        self._letters = LetterProbabilities(tokenizer, settings.temperature, settings.letters)
        self._noise: Noise | None = None
        self._mask_axes = 4

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[list[PromptAnswers]]:
        """Answer every prompt once per seed; batches come longest shared beginning first.

        From the first batch to the last it runs inside mlx-lm's wired limit, as mlx-lm's own generation does.

        Raises:
            CheckpointError: The model's logits are not numbers.
        """
        if not prompts:
            return
        try:
            with wired_limit(self._model):
                yield from self._answer(prompts)
        except NotFiniteError as error:
            raise CheckpointError(not_finite(self._model, f"near {error}")) from None

    def _answer(self, prompts: Sequence[Prompt]) -> Iterator[list[PromptAnswers]]:
        self._measure(prompts)
        assert self.batch_size is not None
        if self.sharing is None:
            found = probe.try_out(self._model, self._backbone, prompts)
            self.note, self.sharing = found.fault, not found.fault
            self.ragged, self._mask_axes = found.ragged, found.mask_axes
        if not self.sharing:
            for start in range(0, len(prompts), _ITEMS_PER_YIELD):
                yield [self._answer_alone(prompt) for prompt in prompts[start : start + _ITEMS_PER_YIELD]]
            return
        arranged = plan(prompts, self.batch_size)
        root = self._extend(self._empty(), [0], [arranged.root]) if arranged.root else self._empty()
        for batch in arranged.batches:
            yield list(self._answer_batch(arranged, root, batch))
            # Batches differ in shape, so MLX could not reuse what it keeps.
            mx.clear_cache()

    def _measure(self, prompts: Sequence[Prompt]) -> None:
        """Learn the vocabulary and the size of the cache from one token, once."""
        if self._noise is not None:
            return
        cache = make_prompt_cache(self._model)
        logits = self._model(mx.array([prompts[0].tokens[:1]]), cache=cache)
        mx.eval(logits)
        vocabulary = int(logits.shape[-1])
        self._noise = Noise(self.settings.noise, vocabulary)
        if self.batch_size is None:
            self.batch_size = choose_batch_size(
                self._model,
                cache_bytes_per_token=_bytes_per_token(cache),
                prompt_tokens=max(len(prompt.tokens) for prompt in prompts) + self.settings.max_tokens,
                vocabulary=vocabulary,
                seeds=len(self.settings.seeds),
            )

    def _answer_batch(
        self, arranged: Plan, root: list[RowCache], batch: Sequence[Group]
    ) -> Iterator[PromptAnswers]:
        shared, start = batch[0].shared, len(arranged.root)
        trunk, sharing = root, False
        if shared > start:
            stretches = [group.prompts[0].tokens[start:shared] for group in batch]
            trunk, sharing = self._extend(root, [0] * len(batch), stretches), True
        members = [(row if sharing else 0, p) for row, group in enumerate(batch) for p in group.prompts]
        members.sort(key=lambda member: len(member[1].tokens))
        runs: list[_Prefilled] = []
        for run in _similar_lengths(members, shared):
            runs.append(self._prefill(trunk, shared, run))
            # Until there are enough: their caches are copied, once for every continuation.
            if sum(len(one.prompts) for one in runs) >= _DECODED_TOGETHER[backend()]:
                yield from self._decode_all(runs)
                runs = []
        yield from self._decode_all(runs)

    def _prefill(self, trunk: list[RowCache], shared: int, run: Sequence[tuple[int, Prompt]]) -> _Prefilled:
        """Compute the rest of some prompts in one forward, and the logits of their last tokens."""
        rests = [prompt.tokens[shared:] for _, prompt in run]
        caches = [cache.rows([row for row, _ in run], 0) for cache in trunk]
        for cache in caches:
            cache.spare = self.settings.max_tokens - 1  # so that decode rows are one copy of these
        last = mx.array([len(rest) - 1 for rest in rests], mx.int32)
        logits = logits_at(self._model, self._backbone, _padded(rests), caches, last)
        mx.eval(logits, [(cache.keys, cache.values) for cache in caches])
        return _Prefilled([prompt for _, prompt in run], range(len(run)), logits, caches)

    def _decode_all(self, runs: Sequence[_Prefilled]) -> Iterator[PromptAnswers]:
        if not runs:
            return
        for together in [runs] if self.ragged else _of_one_length(runs):
            yield from self._decode(together)

    def _decode(self, runs: Sequence[_Prefilled]) -> Iterator[PromptAnswers]:
        """Draw the answers of prompts that were computed in several forwards, all in one decode."""
        assert self._noise is not None
        prompts = [prompt for run in runs for prompt in run.prompts]
        draws = Draws(prompts, self.settings, self._noise, self._end)
        logits = mx.concatenate([run.logits for run in runs]) if len(runs) > 1 else runs[0].logits
        logprobs = log_probabilities(logits)
        sharp, flat = (as_triples(table) for table in self._letters(logprobs))
        rows = draws.advance(logprobs)
        caches: list[RowCache] = []
        spare = self.settings.max_tokens - 1
        while rows:
            parents = [parent for parent, _ in rows]
            if not caches:
                caches = joined(_parts(runs, parents), spare)
            elif parents != list(range(len(caches[0].lengths))):
                caches = [cache.rows(parents, spare) for cache in caches]
            tokens = mx.array([[token] for _, token in rows])
            logits = self._model(tokens, cache=caches)[:, -1]
            rows = draws.advance(log_probabilities(logits))
            spare -= 1
        for prompt, p, p1, answers in zip(prompts, sharp, flat, draws.answers(self._text), strict=True):
            yield PromptAnswers(prompt.item_id, p, p1, answers)

    def _answer_alone(self, prompt: Prompt) -> PromptAnswers:
        assert self._noise is not None
        draws = Draws([prompt], self.settings, self._noise, self._end)
        first = plain.decode(self._model, prompt, draws)
        sharp, flat = (as_triples(table)[0] for table in self._letters(first))
        return PromptAnswers(prompt.item_id, sharp, flat, draws.answers(self._text)[0])

    def _empty(self) -> list[RowCache]:
        caches = row_caches(make_prompt_cache(self._model), self._mask_axes)
        assert caches is not None
        return caches

    def _extend(
        self, trunk: list[RowCache], index: Sequence[int], stretches: Sequence[Sequence[int]]
    ) -> list[RowCache]:
        """Continue rows of the trunk by stretches of one length; no head is computed."""
        caches = [cache.rows(index, 0) for cache in trunk]
        self._model(_padded(stretches), cache=caches)
        mx.eval([(cache.keys, cache.values) for cache in caches])
        return caches


@dataclass(frozen=True)
class _Prefilled:
    """Prompts that were computed in one forward; ``index`` are their rows in its caches."""

    prompts: Sequence[Prompt]
    index: Sequence[int]
    logits: mx.array
    caches: list[RowCache]


def _of_one_length(runs: Sequence[_Prefilled]) -> Iterator[list[_Prefilled]]:
    """The same prompts parted by length, for a model whose rows must all be at one position."""
    for run in runs:
        lengths = [len(prompt.tokens) for prompt in run.prompts]
        for length in sorted(set(lengths)):
            index = [row for row, found in enumerate(lengths) if found == length]
            prompts = [run.prompts[row] for row in index]
            yield [_Prefilled(prompts, index, run.logits[mx.array(index)], run.caches)]


def _parts(runs: Sequence[_Prefilled], parents: Sequence[int]) -> Iterator[Part]:
    """The cache rows behind decode rows; parents count through the prompts of all runs and never fall."""
    first = 0
    for run in runs:
        mine = [parent - first for parent in parents if first <= parent < first + len(run.prompts)]
        if mine:
            lengths = [len(run.prompts[row].tokens) for row in mine]
            yield Part(run.caches, [run.index[row] for row in mine], lengths)
        first += len(run.prompts)


def _similar_lengths(
    members: Sequence[tuple[int, Prompt]], shared: int
) -> Iterator[list[tuple[int, Prompt]]]:
    """Cut members, shortest first, into runs whose padding stays small."""
    run: list[tuple[int, Prompt]] = []
    for member in members:
        if run and len(member[1].tokens) - shared > _MOST_PADDING * (len(run[0][1].tokens) - shared):
            yield run
            run = []
        run.append(member)
    yield run


def _padded(rows: Sequence[Sequence[int]]) -> mx.array:
    """Token rows filled up on the right, where a causal mask keeps the filling out of sight."""
    width = max(len(row) for row in rows)
    table = np.zeros((len(rows), width), dtype=np.int32)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return mx.array(table)


def _bytes_per_token(cache: Sequence[Any]) -> int:
    total = 0
    for layer in cache:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        for array in (keys, values):
            if isinstance(array, mx.array):
                total += array.nbytes // array.shape[2]
    return max(total, 1)
