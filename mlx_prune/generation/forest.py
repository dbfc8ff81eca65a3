"""Prompts as trees of tokens: what neighbors have in common beyond the beginning of all is computed once.

Sorted prompts are parted into trees. A tree is one block of attention, in which a token sees itself and its
ancestors; so trees are joined as long as the scores of tokens that see nothing of each other cost less than
the tokens saved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.prefixes import common_prefix

# A token costs as much as so many scores of every head: between 200 and 1,000 for 100 million parameters.
_SCORES_PER_TOKEN = 250


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
        batches: Trees whose prompts are answered together, the largest trees first.
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
    trees = sorted(_trees(ordered, root, batch_size), key=lambda tree: -len(tree.tokens))
    return Forest(ordered[0].tokens[:root], tuple(parted(trees, lambda tree: len(tree.prompts), batch_size)))


def _trees(ordered: Sequence[Prompt], root: int, most: int) -> Iterator[Tree]:
    tree = Tree()
    tree.add(ordered[0], root, root)
    for left, right in itertools.pairwise(ordered):
        shared = common_prefix(left.tokens, right.tokens)
        whole, rest = len(right.tokens) - root, len(right.tokens) - shared
        nodes = len(tree.tokens)
        more_scores = (nodes + rest) ** 2 - nodes**2 - whole**2
        if len(tree.prompts) == most or more_scores > _SCORES_PER_TOKEN * (shared - root):
            yield tree
            tree, shared = Tree(), root
        tree.add(right, root, shared)
    yield tree


def parted(trees: Sequence[Tree], weight: Callable[[Tree], int], most: int) -> Iterator[tuple[Tree, ...]]:
    """Stretches of the trees, few and about as large: a small one costs nearly as much as a full one.

    Args:
        trees: In the order to keep.
        weight: Of a tree.
        most: What a stretch of more than one tree may weigh.
    """
    whole = sum(map(weight, trees))
    parts = -(-whole // most)
    part: list[Tree] = []
    size = done = number = 0
    for tree in trees:
        if part and (size + weight(tree) > most or done * parts >= whole * (number + 1)):
            yield tuple(part)
            part, size, number = [], 0, number + 1
        part.append(tree)
        size += weight(tree)
        done += weight(tree)
    yield tuple(part)
