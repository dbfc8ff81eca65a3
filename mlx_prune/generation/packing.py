"""A batch of trees and its answers as packed forwards: the root, the trees, then token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from numpy.typing import NDArray

from mlx_prune.generation.draws import Drawing, Draws
from mlx_prune.generation.forest import Tree, plant
from mlx_prune.generation.head import logits_at
from mlx_prune.generation.interface import Prompt, PromptAnswers
from mlx_prune.generation.packed import Grid, Index, Layout, PackedCache, packed_forward
from mlx_prune.generation.quick import quick_functions
from mlx_prune.generation.rows import window_of
from mlx_prune.generation.sampling import log_probabilities

# A forward of so many tokens reads its weights seldom enough, and what it computes stays near the processor.
_TOKENS_PER_FORWARD = 768
# Trees none of whose answers goes on are left behind when they are so many.
_DROPPED_FROM = 0.25


@dataclass
class _Place:
    """Where the tokens of a prompt lie: which grid, which of its blocks, and there which keys."""

    grid: int
    block: int
    seen: NDArray[np.bool_]
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
        self._roots: list[tuple[mx.array, mx.array] | None] = [None] * len(self._windows)
        self._root = 0
        self._caches: list[PackedCache] = []
        self._places: list[_Place] = []
        self._keys: list[Index] = []
        self._rows: list[int] = []
        self._step = 0

    def root(self, tokens: Sequence[int]) -> None:
        """Compute what all prompts begin with, which may be nothing."""
        self._root, self._roots = 0, [None] * len(self._windows)
        if not tokens:
            return
        tree = Tree()
        tree.add(Prompt("", tuple(tokens)), 0, 0)
        self.start()
        layout = _of_trees([tree], 0)
        self._run(tokens, layout, None)
        mx.eval([cache.arrays() for cache in self._caches])
        self._root = len(tokens)
        for number, cache in enumerate(self._caches):
            keys, values = cache.grids[0]
            self._roots[number] = keys[:, 0], values[:, 0]

    def start(self) -> None:
        """Begin a batch: only the root is kept."""
        self._caches = [
            PackedCache(window, root=root) for window, root in zip(self._windows, self._roots, strict=True)
        ]
        self._places, self._keys, self._rows, self._step = [], [], [], 0

    def prefill(self, trees: Sequence[Tree]) -> mx.array:
        """Compute trees.

        Returns:
            (prompts, vocabulary) logits of each prompt's last token, tree by tree.
        """
        logits, chunk, size = [], list[Tree](), 0
        for tree in trees:
            if chunk and size + len(tree.tokens) > _TOKENS_PER_FORWARD:
                logits.append(self._prefill(chunk))
                chunk, size = [], 0
            chunk.append(tree)
            size += len(tree.tokens)
        logits.append(self._prefill(chunk))
        self._rows = list(range(len(self._places)))
        return mx.concatenate(logits) if len(logits) > 1 else logits[0]

    def _prefill(self, trees: Sequence[Tree]) -> mx.array:
        layout = _of_trees(trees, self._root)
        (grid,) = layout.grids
        width, start = grid.place.shape[1], 0
        last = []
        for block, tree in enumerate(trees):
            for prompt, path in zip(tree.prompts, tree.paths, strict=True):
                seen = np.zeros(width, bool)
                seen[path] = True
                self._places.append(_Place(len(self._keys), block, seen, len(prompt.tokens)))
                last.append(start + path[-1])
            start += len(tree.tokens)
        self._keys.append(grid.key_positions)
        logits = self._run([token for tree in trees for token in tree.tokens], layout, last)
        mx.eval(logits, [cache.arrays() for cache in self._caches])
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
            chosen = mx.array(np.array(parents, np.uint32))
            for cache in self._caches:
                assert cache.tail is not None
                cache.tail = mx.take(cache.tail[0], chosen, axis=0), mx.take(cache.tail[1], chosen, axis=0)
        self._rows = [self._rows[parent] for parent in parents]
        self._leave_behind()
        places = [self._places[prompt] for prompt in self._rows]
        positions = np.array([place.length + self._step for place in places])
        grids = [self._of_rows(grid, places, positions) for grid in range(len(self._keys))]
        layout = Layout(positions, grids, new=False)
        self._step += 1
        return self._run([token for _, token in rows], layout, None)

    def _of_rows(self, number: int, places: Sequence[_Place], positions: Index) -> Grid:
        """The grid of the rows whose prompts lie in a grid of trees."""
        mine = [row for row, place in enumerate(places) if place.grid == number]
        blocks, width = self._keys[number].shape
        filled = np.zeros(blocks, int)
        column = []
        for row in mine:
            column.append(filled[places[row].block])
            filled[places[row].block] += 1
        most = int(filled.max(initial=0))
        place = np.zeros((blocks, most), int)
        seen = np.zeros((blocks, most, width), bool)
        at = np.zeros((blocks, most), int)
        for index, (row, slot) in enumerate(zip(mine, column, strict=True)):
            block = places[row].block
            place[block, slot], at[block, slot] = index, positions[row]
            seen[block, slot] = places[row].seen
        back = np.array(
            [places[row].block * most + slot for row, slot in zip(mine, column, strict=True)], int
        )
        return Grid(place, back, seen, self._keys[number], at)

    def _leave_behind(self) -> None:
        """Forget trees that no row reads, where they are many."""
        for number, keys in enumerate(self._keys):
            alive = sorted({place.block for place in self._alive() if place.grid == number})
            if len(keys) - len(alive) <= _DROPPED_FROM * len(keys):
                continue
            moved = {block: new for new, block in enumerate(alive)}
            for place in self._alive():
                if place.grid == number:
                    place.block = moved[place.block]
            self._keys[number] = keys[alive]
            chosen = mx.array(np.array(alive, np.uint32))
            for cache in self._caches:
                old = cache.grids[number]
                cache.grids[number] = mx.take(old[0], chosen, axis=1), mx.take(old[1], chosen, axis=1)

    def _alive(self) -> list[_Place]:
        return [self._places[prompt] for prompt in sorted(set(self._rows))]

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
        """Answer every prompt, at most ``batch_size`` at a time; largest trees first."""
        forest = plant(prompts, batch_size)
        self._packed.root(forest.root)
        for batch in forest.batches:
            self._packed.start()
            members = [prompt for tree in batch for prompt in tree.prompts]
            draws = Draws(members, self._drawing, _logprobs(self._packed.prefill(batch)))
            while draws.rows:
                draws.advance(_logprobs(self._packed.step(draws.rows)))
            yield list(draws.finished())


def _logprobs(logits: mx.array) -> mx.array:
    with quick_functions():
        return log_probabilities(logits)


def _of_trees(trees: Sequence[Tree], root: int) -> Layout:
    """The layout of a forward of trees: one block each, as wide as the largest."""
    width = max(len(tree.tokens) for tree in trees)
    place = np.zeros((len(trees), width), int)
    seen = np.zeros((len(trees), width, width), bool)
    depths = np.zeros((len(trees), width), int)
    back, start = [], 0
    for block, tree in enumerate(trees):
        size = len(tree.tokens)
        place[block, :size] = range(start, start + size)
        depths[block, :size] = tree.depths
        seen[block, :size, :size] = tree.seen()
        back.append(block * width + np.arange(size))
        start += size
    order = np.concatenate(back)
    positions = depths + root
    return Layout(positions.reshape(-1)[order], [Grid(place, order, seen, positions, positions)], new=True)
