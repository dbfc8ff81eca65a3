"""Prompts as rows of padded forwards, for what cannot be packed: shared prefixes, one decode per batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.environment import backend
from mlx_prune.generation.draws import Drawing, Draws
from mlx_prune.generation.head import logits_at
from mlx_prune.generation.interface import Prompt, PromptAnswers
from mlx_prune.generation.prefixes import Group, Plan, plan
from mlx_prune.generation.quick import quick_functions
from mlx_prune.generation.rows import Part, RowCache, joined, row_caches
from mlx_prune.generation.sampling import log_probabilities

# Rows of a forward are padded on the right to its longest; this much at most.
_MOST_PADDING = 1.15
# Prompts from which on a decode is worth its forward: with some three rows each, a CPU's products of matrices
# come near their best. A GPU takes all of a batch.
_DECODED_TOGETHER = {"cpu": 24, "metal": 1 << 30, "cuda": 1 << 30}


class RowAnswers:
    """Answers batches of prompts as rows.

    Attributes:
        ragged: Whether prompts of different lengths are decoded together; else those of one length are.
    """

    def __init__(
        self, model: nn.Module, backbone: nn.Module | None, drawing: Drawing, ragged: bool, mask_axes: int
    ) -> None:
        """See :class:`~mlx_prune.generation.probe.Found` for what the last two say."""
        self.ragged = ragged
        self._model = model
        self._backbone = backbone
        self._drawing = drawing
        self._mask_axes = mask_axes

    def batches(self, prompts: Sequence[Prompt], batch_size: int) -> Iterator[list[PromptAnswers]]:
        """Answer every prompt, at most ``batch_size`` at a time; longest shared beginning first."""
        arranged = plan(prompts, batch_size)
        with quick_functions():
            root = self._extend(self._empty(), [0], [arranged.root]) if arranged.root else self._empty()
        for batch in arranged.batches:
            with quick_functions():
                answered = list(self._answer_batch(arranged, root, batch))
            yield answered

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
            cache.spare = self._drawing.settings.max_tokens - 1  # so that decode rows are one copy of these
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
        prompts = [prompt for run in runs for prompt in run.prompts]
        logits = mx.concatenate([run.logits for run in runs]) if len(runs) > 1 else runs[0].logits
        draws = Draws(prompts, self._drawing, log_probabilities(logits))
        caches: list[RowCache] = []
        spare = self._drawing.settings.max_tokens - 1
        while rows := draws.rows:
            parents = [parent for parent, _ in rows]
            if not caches:
                caches = joined(_parts(runs, parents), spare)
            elif parents != list(range(len(caches[0].lengths))):
                caches = [cache.rows(parents, spare) for cache in caches]
            tokens = mx.array([[token] for _, token in rows])
            draws.advance(log_probabilities(self._model(tokens, cache=caches)[:, -1]))
            spare -= 1
        yield from draws.finished()

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
