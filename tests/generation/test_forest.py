"""Prompts as trees: every prompt whole, every shared token once, and nobody sees a stranger."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_prune.generation.forest import Tree, parted, plant
from mlx_prune.generation.interface import Prompt

token_lists = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=14).map(lambda tail: [9, 8, 9, *tail]),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(token_lists, st.integers(1, 9))
def test_a_path_from_the_root_is_the_prompt_and_all_that_its_last_token_sees(lists, batch_size):
    prompts = [Prompt(f"Age:{i}", tuple(tokens)) for i, tokens in enumerate(lists)]
    forest = plant(prompts, batch_size)
    trees = [tree for batch in forest.batches for tree in batch]
    assert sorted(p.item_id for tree in trees for p in tree.prompts) == sorted(p.item_id for p in prompts)
    for batch in forest.batches:
        assert sum(len(tree.prompts) for tree in batch) <= batch_size
    for tree in trees:
        seen = tree.seen()
        for prompt, path in zip(tree.prompts, tree.paths, strict=True):
            assert path
            assert forest.root + tuple(tree.tokens[node] for node in path) == prompt.tokens
            assert [tree.depths[node] for node in path] == list(range(len(path)))
            assert np.flatnonzero(seen[path[-1]]).tolist() == path
            for depth, node in enumerate(path):
                assert np.flatnonzero(seen[node]).tolist() == path[: depth + 1]
    assert forest.computed_tokens() <= sum(len(p.tokens) for p in prompts)


def test_questions_on_one_context_make_a_tree_and_contexts_of_their_own_do_not():
    prompts = []
    for context in range(10):
        for question in range(2):
            tokens = (1, 2, 3, *(100 + context,) * 20, *(50 + question,) * 5)
            prompts.append(Prompt(f"Age:{context}-{question}", tokens))
    forest = plant(prompts, 8)
    assert forest.root == (1, 2, 3)
    assert [len(tree.prompts) for batch in forest.batches for tree in batch] == [2] * 10
    assert forest.computed_tokens() == 3 + 10 * (20 + 5 + 5)


def test_long_prompts_that_share_little_are_not_one_block_of_attention():
    rng = np.random.default_rng(0)
    prompts = [Prompt(f"Age:{i}", (1, 2, i % 2, 5, *rng.integers(9, 99, 300).tolist())) for i in range(6)]
    assert all(len(tree.prompts) == 1 for batch in plant(prompts, 6).batches for tree in batch)


def test_the_same_prompts_are_arranged_once_and_others_anew():
    prompts = [Prompt(f"Age:{i}", (1, 2, i, 7)) for i in range(4)]
    forest = plant(prompts, 4)
    assert plant(tuple(prompts), 4) is forest
    assert len(plant(prompts, 2).batches) == 2
    changed = plant([*prompts[:3], Prompt("Age:3", (1, 2, 9, 9))], 4)
    assert sorted(p.tokens for b in changed.batches for t in b for p in t.prompts)[-1] == (1, 2, 9, 9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 60))
def test_parts_hold_every_tree_once_and_none_is_a_small_rest(sizes, most):
    trees = [Tree(tokens=[0] * size) for size in sizes]
    parts = parted(trees, lambda tree: len(tree.tokens), most)
    assert sorted(id(tree) for part in parts for tree in part) == sorted(map(id, trees))
    weights = [sum(len(tree.tokens) for tree in part) for part in parts]
    assert all(weight <= most or len(part) == 1 for weight, part in zip(weights, parts, strict=True))
    assert weights == sorted(weights, reverse=True)
    fewest = -(-sum(sizes) // most)
    if sum(sizes) / fewest + max(sizes) <= most:
        assert len(parts) == fewest
    # Parts differ by less than a tree.
    assert max(weights) - min(weights) <= max(sizes)


def test_neighbors_are_joined_up_to_some_tokens_and_beyond_a_few_shared():
    rng = np.random.default_rng(1)
    prompts = []
    for number in range(40):
        tokens = (1, number % 2, *[7] * 30, 100 + number, *rng.integers(9, 99, 59).tolist())
        prompts.append(Prompt(f"Age:{number}", tokens))
    trees = [tree for batch in plant(prompts, 40).batches for tree in batch]
    sizes = [len(tree.tokens) for tree in trees]
    assert max(sizes) <= 600
    # 31 shared and 60 own tokens each: 9 prompts fill a tree.
    assert sorted(len(tree.prompts) for tree in trees) == [2, 2, 9, 9, 9, 9]
    assert sum(sizes) == 6 * 31 + 40 * 60
