"""A batch of trees and its answers as packed forwards: the root, the trees, then token by token."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from numpy.typing import NDArray

from mlx_prune.generation.attending import QUERIES_TOGETHER, Kept
from mlx_prune.generation.draws import Drawing, Draws
from mlx_prune.generation.forest import Tree, parted, plant
from mlx_prune.generation.head import logits_at
from mlx_prune.generation.interface import Prompt, PromptAnswers
from mlx_prune.generation.packed import Group, Index, Layout, PackedCache, Piece, packed_forward
from mlx_prune.generation.quick import quick_functions
from mlx_prune.generation.rows import window_of
from mlx_prune.generation.sampling import log_probabilities

# A forward of so many tokens reads its weights seldom enough, and what it computes stays near the processor.
_TOKENS_PER_FORWARD = 1536
# Tokens of several prompts are attended together up to so many.
_LONGEST_STRETCH = QUERIES_TOGETHER * 5 // 4
# Rows of the decode that are attended together.
_ROWS_TOGETHER = 64
# Rows of a tree look up the same keys if one of them sees all but so many of them.
_FEW_STRANGERS = 48
# To look up keys in one place more costs as much as so many scores.
_SCORES_PER_STRETCH = 300


@dataclass(frozen=True)
class _Place:
    """Where the keys that a prompt sees lie: nodes of a tree that begins somewhere in a forward."""

    forward: int
    start: int
    path: Index
    length: int


class PackedBatch:
    """Computes prompts and their answers; one batch after the other shares the root."""

    def __init__(self, model: nn.Module, backbone: nn.Module | None) -> None:
        """Nothing computed yet.

        Args:
            model: An mlx-lm model.
            backbone: See :func:`~mlx_prune.generation.head.find_backbone`.
        """
        self._model = model
        self._backbone = backbone
        self._windows = [window_of(cache) for cache in make_prompt_cache(model)]
        self._roots: list[Kept | None] = [None] * len(self._windows)
        self._root = 0
        self._known: tuple[int, ...] = ()
        self._caches: list[PackedCache] = []
        self._places: list[_Place] = []
        self._forwards = 0
        self._rows: list[int] = []
        self._step = 0

    def root(self, tokens: Sequence[int]) -> None:
        """Compute what all prompts begin with, which may be nothing; the last one is kept."""
        if tuple(tokens) == self._known:
            return
        self._known, self._root, self._roots = (), 0, [None] * len(self._windows)
        if not tokens:
            return
        tree = Tree()
        tree.add(Prompt("", tuple(tokens)), 0, 0)
        self.start()
        mx.eval(self._run(tokens, _of_trees([tree], 0, 0), [len(tokens) - 1]))
        self._roots = [cache.forwards[0] for cache in self._caches]
        self._known, self._root = tuple(tokens), len(tokens)

    def start(self) -> None:
        """Begin a batch: only the root is kept."""
        self._caches = [
            PackedCache(window, root=root) for window, root in zip(self._windows, self._roots, strict=True)
        ]
        self._places, self._forwards, self._rows, self._step = [], 0, [], 0

    def prefill(self, forwards: Sequence[Sequence[Tree]]) -> mx.array:
        """Compute the trees of some forwards.

        Returns:
            (prompts, vocabulary) logits of each prompt's last token, forward by forward and tree by tree.
        """
        logits = [self._prefill(trees) for trees in forwards]
        self._rows = list(range(len(self._places)))
        return mx.concatenate(logits) if len(logits) > 1 else logits[0]

    def _prefill(self, trees: Sequence[Tree]) -> mx.array:
        start, last = 0, []
        for tree in trees:
            for prompt, path in zip(tree.prompts, tree.paths, strict=True):
                self._places.append(_Place(self._forwards, start, np.array(path), len(prompt.tokens)))
                last.append(start + path[-1])
            start += len(tree.tokens)
        layout = _of_trees(trees, self._root, self._forwards)
        self._forwards += 1
        logits = self._run([token for tree in trees for token in tree.tokens], layout, last)
        mx.eval(logits)
        return logits

    def step(self, rows: Sequence[tuple[int, int]]) -> mx.array:
        """Compute one more token of some answers.

        Args:
            rows: Each as the row before that it continues (at first a prompt) and its token; the rows before
                never fall.

        Returns:
            (rows, vocabulary) logits.
        """
        parents = [parent for parent, _ in rows]
        if self._step and parents != list(range(len(self._rows))):
            for cache in self._caches:
                cache.rows(np.array(parents))
        self._rows = [self._rows[parent] for parent in parents]
        places = [self._places[prompt] for prompt in self._rows]
        positions = np.array([place.length + self._step for place in places])
        self._step += 1
        return self._run([token for _, token in rows], _of_rows(places, positions, self._root), None)

    def _run(self, tokens: Sequence[int], layout: Layout, last: Sequence[int] | None) -> mx.array:
        """Logits of chosen tokens, or of all."""
        for cache in self._caches:
            cache.layout = layout
        row = mx.array(np.array([tokens], np.int32))
        with packed_forward():
            if last is None:
                every: mx.array = self._model(row, cache=self._caches)[0]
                return every
            at = mx.array(np.array(last, np.int32))
            return logits_at(self._model, self._backbone, row, self._caches, at[None])


class PackedAnswers:
    """Answers batches of trees."""

    def __init__(self, model: nn.Module, backbone: nn.Module | None, drawing: Drawing) -> None:
        """For a model of which :mod:`~mlx_prune.generation.probe` found that it can."""
        self._packed = PackedBatch(model, backbone)
        self._drawing = drawing

    def batches(self, prompts: Sequence[Prompt], batch_size: int) -> Iterator[list[PromptAnswers]]:
        """Answer every prompt, at most ``batch_size`` at a time; the batch of most tokens first."""
        forest = plant(prompts, batch_size)
        self._packed.root(forest.root)
        for batch in forest.batches:
            self._packed.start()
            forwards = parted(batch, lambda tree: len(tree.tokens), _TOKENS_PER_FORWARD)
            members = [prompt for trees in forwards for tree in trees for prompt in tree.prompts]
            draws = Draws(members, self._drawing, _logprobs(self._packed.prefill(forwards)))
            while draws.rows:
                draws.advance(_logprobs(self._packed.step(draws.rows)))
            yield list(draws.finished())


def _logprobs(logits: mx.array) -> mx.array:
    with quick_functions():
        return log_probabilities(logits)


def _of_trees(trees: Sequence[Tree], root: int, forward: int) -> Layout:
    """The layout of a forward of trees."""
    every = [np.array(tree.depths) + root for tree in trees]
    groups, start = [], 0
    for tree, positions in zip(trees, every, strict=True):
        seen = tree.seen()
        for first, end in itertools.pairwise(_cuts(tree)):
            stretches, keys = _stretches(np.flatnonzero(seen[first:end].any(axis=0)), start, end - first)
            piece = Piece(slice(0, end - first), forward, stretches)
            mine, theirs = positions[first:end], np.tile(positions[keys], (end - first, 1))
            groups.append(_group(start + first, [piece], root, seen[first:end, keys], mine, theirs))
        start += len(positions)
    return Layout(np.concatenate(every), groups, new=True)


def _cuts(tree: Tree) -> list[int]:
    """Where the tokens of a tree are parted that are attended together: between prompts, if those are short.

    Tokens of two prompts together would cost the scores of what only one of them sees.
    """
    between, end = [0], 0
    for path in tree.paths:
        # The same prompt again adds no token.
        if path[-1] >= end > between[-1] and path[-1] + 1 - between[-1] > _LONGEST_STRETCH:
            between.append(end)
        end = path[-1] + 1
    cuts = [0]
    for first, last in itertools.pairwise([*between, end]):
        parts = max(1, round((last - first) / QUERIES_TOGETHER))
        cuts += [first + (last - first) * part // parts for part in range(1, parts + 1)]
    return cuts


def _of_rows(places: Sequence[_Place], positions: Index, root: int) -> Layout:
    """The layout of rows whose prompts lie in trees; those of a tree lie side by side."""
    groups = []
    for start in range(0, len(places), _ROWS_TOGETHER):
        some = places[start : start + _ROWS_TOGETHER]
        pieces, found = [], []
        for lies, nodes in _seen_together(some):
            stretches, keys = _stretches(nodes, some[lies.start].start, lies.stop - lies.start)
            pieces.append(Piece(lies, some[lies.start].forward, stretches))
            found.append(keys)
        width = max(map(len, found))
        seen, theirs = np.zeros((len(some), width), bool), np.zeros((len(some), width), int)
        for piece, keys in zip(pieces, found, strict=True):
            for row, place in enumerate(some[piece.tokens], piece.tokens.start):
                at = np.searchsorted(keys, place.path)
                seen[row, at], theirs[row, at] = True, root + np.arange(len(at))
        groups.append(_group(start, pieces, root, seen, positions[start : start + len(some)], theirs))
    return Layout(positions, groups, new=False)


def _seen_together(places: Sequence[_Place]) -> Iterator[tuple[slice, Index]]:
    """Stretches of rows of a tree, with the nodes that any of them sees.

    A row joins those before as long as few of these nodes are strangers to the one that sees most of them.
    """
    first, keys, most = 0, places[0].path, len(places[0].path)
    for row, (before, place) in enumerate(itertools.pairwise(places), 1):
        together = (before.forward, before.start) == (place.forward, place.start)
        joined, longest = keys, max(most, len(place.path))
        if together and place is not before:
            joined = np.union1d(keys, place.path)
            together = len(joined) <= longest + _FEW_STRANGERS
        if together:
            keys, most = joined, longest
        else:
            yield slice(first, row), keys
            first, keys, most = row, place.path, len(place.path)
    yield slice(first, len(places)), keys


def _stretches(nodes: Index, start: int, queries: int) -> tuple[list[slice], Index]:
    """Where ascending nodes of a tree lie in its forward, and all nodes there, those of small gaps, too."""
    cuts = np.flatnonzero(np.diff(nodes) * queries > _SCORES_PER_STRETCH)
    firsts, ends = nodes[[0, *(cuts + 1)]].tolist(), (nodes[[*cuts, -1]] + 1).tolist()
    lie = list(zip(firsts, ends, strict=True))
    return (
        [slice(start + first, start + end) for first, end in lie],
        np.concatenate([np.arange(first, end) for first, end in lie]),
    )


def _group(
    start: int,
    pieces: Sequence[Piece],
    root: int,
    seen: NDArray[np.bool_],
    positions: Index,
    key_positions: Index,
) -> Group:
    """A group that sees all of the root, but for a window."""
    count = len(positions)
    before = np.ones((count, root), bool), np.tile(np.arange(root), (count, 1))
    return Group(
        slice(start, start + count),
        pieces,
        np.concatenate([before[0], seen], axis=1),
        positions,
        np.concatenate([before[1], key_positions], axis=1),
    )
