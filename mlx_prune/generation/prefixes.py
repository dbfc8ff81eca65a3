"""Which prompts are computed together, and which of their tokens only once.

Prompts of a benchmark share their beginning: all of them the instruction, and the questions on one context
that context. A plan computes three stretches: the root once for the whole run, a group's stretch once per
group of neighbors, and the rest per prompt. Prompts of one batch have one length of shared tokens, so that
their caches line up without padding on the left.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlx_prune.generation.interface import Prompt

# A stretch shorter than this is cheaper to compute again than to share.
_SHORTEST_STRETCH = 4
# How many shared tokens a group may give up to join an earlier batch that has room.
_MOST_GIVEN_UP = 8


@dataclass(frozen=True)
class Group:
    """Prompts that share their first ``shared`` tokens."""

    shared: int
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class Plan:
    """A whole run: the tokens all prompts begin with, and batches of groups.

    Attributes:
        root: Leading tokens of every prompt; each prompt has at least one token beyond them.
        batches: Groups to compute together, all of one ``shared`` length (at least the root's).
    """

    root: tuple[int, ...]
    batches: tuple[tuple[Group, ...], ...]

    def computed_tokens(self) -> int:
        """Prompt tokens that go through the model, padding aside."""
        total = len(self.root)
        for batch in self.batches:
            for group in batch:
                total += group.shared - len(self.root)
                total += sum(len(prompt.tokens) - group.shared for prompt in group.prompts)
        return total


def plan(prompts: Sequence[Prompt], batch_size: int) -> Plan:
    """Arrange prompts so that little is computed twice and batches hold similar lengths.

    Args:
        prompts: At least one; every prompt has at least one token.
        batch_size: Prompts per batch; a single group may exceed it, and is then cut.
    """
    ordered = sorted(prompts, key=lambda prompt: prompt.tokens)
    longest_root = min(len(prompt.tokens) for prompt in ordered) - 1
    root = min(common_prefix(ordered[0].tokens, ordered[-1].tokens), longest_root)
    groups = [piece for group in _groups(ordered, root) for piece in _cut(group, batch_size)]
    return Plan(ordered[0].tokens[:root], tuple(_batches(groups, batch_size)))


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Number of leading tokens that two sequences share."""
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))


def _groups(ordered: Sequence[Prompt], root: int) -> Iterator[Group]:
    """Greedy neighbors: a prompt joins as long as the tokens saved by sharing do not fall."""
    members = [ordered[0]]
    shared = len(ordered[0].tokens) - 1
    for left, right in itertools.pairwise(ordered):
        joint = min(shared, common_prefix(left.tokens, right.tokens), len(right.tokens) - 1)
        saved_before = (len(members) - 1) * (shared - root)
        if joint - root >= _SHORTEST_STRETCH and len(members) * (joint - root) >= saved_before:
            members.append(right)
            shared = joint
        else:
            yield _group(members, shared, root)
            members, shared = [right], len(right.tokens) - 1
    yield _group(members, shared, root)


def _group(members: Sequence[Prompt], shared: int, root: int) -> Group:
    return Group(shared if len(members) > 1 else root, tuple(members))


def _cut(group: Group, size: int) -> Iterator[Group]:
    for start in range(0, len(group.prompts), size):
        yield Group(group.shared, group.prompts[start : start + size])


def _batches(groups: Sequence[Group], batch_size: int) -> Iterator[tuple[Group, ...]]:
    """Longest shared stretch first; a batch with room is filled from slightly shorter ones."""

    def shape(group: Group) -> tuple[int, list[int]]:
        return -group.shared, sorted(len(prompt.tokens) for prompt in group.prompts)

    batch: list[Group] = []
    size = 0
    for group in sorted(groups, key=shape):
        too_far = bool(batch) and batch[0].shared - group.shared > _MOST_GIVEN_UP
        if batch and (too_far or size + len(group.prompts) > batch_size):
            yield _level(batch)
            batch, size = [], 0
        batch.append(group)
        size += len(group.prompts)
    if batch:
        yield _level(batch)


def _level(batch: Sequence[Group]) -> tuple[Group, ...]:
    shared = min(group.shared for group in batch)
    return tuple(Group(shared, group.prompts) for group in batch)
