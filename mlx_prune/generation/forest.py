"""Prompts as trees of tokens: what neighbors have in common beyond the beginning of all is computed once.

Sorted prompts are parted into trees, in which a token sees itself and its ancestors.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.prefixes import common_prefix

# Neighbors that share no more tokens than these begin trees of their own: as keys that are not side by side
# they would cost what they save.
_FEW_SHARED = 3
# Tokens of a tree, so that batches and forwards, which hold whole trees, can be of about one size.
_LARGEST = 600


@dataclass
class Tree:
    """Prompts that share some of their tokens beyond the root.

    Attributes:
        prompts: Sorted by their tokens.
        tokens: Every node once, parents before children.
        depths: How many tokens lie between the root and each node.
        paths: By prompt, its nodes from the first to the last.
    """

    prompts: list[Prompt] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)

    def add(self, prompt: Prompt, root: int, shared: int) -> None:
        """Add a prompt whose first ``shared`` tokens are those of the prompt before, ``root`` among them."""
        path = self.paths[-1][: shared - root] if self.paths else []
        for token in prompt.tokens[root + len(path) :]:
            path.append(len(self.tokens))
            self.depths.append(len(path) - 1)
            self.tokens.append(token)
        self.prompts.append(prompt)
        self.paths.append(path)

    def seen(self) -> NDArray[np.bool_]:
        """Which nodes each node sees (nodes, nodes)."""
        seen = np.zeros((len(self.tokens), len(self.tokens)), bool)
        for path in self.paths:
            seen[np.ix_(path, path)] = np.tri(len(path), dtype=bool)
        return seen


@dataclass(frozen=True)
class Forest:
    """A whole run.

    Attributes:
        root: Leading tokens of every prompt; each prompt has at least one token beyond them.
        batches: Trees whose prompts are answered together, the batch of most tokens first.
    """

    root: tuple[int, ...]
    batches: tuple[tuple[Tree, ...], ...]

    def computed_tokens(self) -> int:
        """Prompt tokens that go through the model."""
        return len(self.root) + sum(len(tree.tokens) for batch in self.batches for tree in batch)


_last: tuple[list[Prompt], int, Forest] | None = None


def plant(prompts: Sequence[Prompt], batch_size: int) -> Forest:
    """Arrange prompts as trees; the last arrangement is kept, as models of a study get the same prompts.

    Args:
        prompts: At least one; every prompt has at least one token.
        batch_size: Prompts per batch, and at most in a tree.
    """
    global _last
    mine = list(prompts)
    if _last is None or _last[:2] != (mine, batch_size):
        _last = mine, batch_size, _plant(mine, batch_size)
    return _last[2]


def _plant(prompts: Sequence[Prompt], batch_size: int) -> Forest:
    ordered = sorted(prompts, key=lambda prompt: prompt.tokens)
    longest_root = min(len(prompt.tokens) for prompt in ordered) - 1
    root = min(common_prefix(ordered[0].tokens, ordered[-1].tokens), longest_root)
    trees = list(_trees(ordered, root, batch_size))
    return Forest(ordered[0].tokens[:root], parted(trees, lambda tree: len(tree.prompts), batch_size))


def _trees(ordered: Sequence[Prompt], root: int, most: int) -> Iterator[Tree]:
    tree = Tree()
    tree.add(ordered[0], root, root)
    for left, right in itertools.pairwise(ordered):
        shared = common_prefix(left.tokens, right.tokens)
        nodes = len(tree.tokens) + len(right.tokens) - shared
        if len(tree.prompts) == most or shared - root <= _FEW_SHARED or nodes > _LARGEST:
            yield tree
            tree, shared = Tree(), root
        tree.add(right, root, shared)
    yield tree


def parted(trees: Sequence[Tree], weight: Callable[[Tree], int], most: int) -> tuple[tuple[Tree, ...], ...]:
    """Parts of the trees, few and about as heavy: a small one costs nearly as much as a full one.

    Graham 1969: the heaviest that is left goes where least lies; the part of most tokens comes first, so that
    a lack of memory shows at once.

    Args:
        trees: At least one.
        weight: Of a tree.
        most: What a part of more than one tree may weigh.
    """
    heaviest_first = sorted(trees, key=weight, reverse=True)
    fewest = -(-sum(map(weight, trees)) // most)
    for count in range(min(fewest, len(trees)), len(trees) + 1):
        parts = _spread(heaviest_first, weight, count)
        if all(len(part) == 1 or sum(map(weight, part)) <= most for part in parts):
            break
    return tuple(sorted(map(tuple, parts), key=lambda part: -sum(len(tree.tokens) for tree in part)))


def _spread(trees: Sequence[Tree], weight: Callable[[Tree], int], count: int) -> list[list[Tree]]:
    parts: list[list[Tree]] = [[] for _ in range(count)]
    lightest = [(0, number) for number in range(count)]
    for tree in trees:
        load, number = lightest[0]
        parts[number].append(tree)
        heapq.heapreplace(lightest, (load + weight(tree), number))
    return parts
