"""Shared beginnings of prompts are found and computed once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.prefixes import common_prefix, plan

token_lists = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=14).map(lambda tail: [9, 8, 9, *tail]),
    min_size=1,
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(token_lists, st.integers(1, 9))
def test_a_plan_covers_every_prompt_once_with_what_it_really_shares(lists, batch_size):
    prompts = [Prompt(f"Age:{i}", tuple(tokens)) for i, tokens in enumerate(lists)]
    arranged = plan(prompts, batch_size)
    planned = [p for batch in arranged.batches for group in batch for p in group.prompts]
    assert sorted(p.item_id for p in planned) == sorted(p.item_id for p in prompts)
    for batch in arranged.batches:
        assert sum(len(group.prompts) for group in batch) <= batch_size
        assert len({group.shared for group in batch}) == 1
        for group in batch:
            assert group.shared >= len(arranged.root)
            for prompt in group.prompts:
                assert len(prompt.tokens) > group.shared
                assert prompt.tokens[: group.shared] == group.prompts[0].tokens[: group.shared]
                assert prompt.tokens[: len(arranged.root)] == arranged.root
    assert arranged.computed_tokens() <= sum(len(p.tokens) for p in prompts)


def test_contexts_are_computed_once_for_the_questions_that_share_them():
    prompts = []
    for context in range(10):
        for question in range(2):
            tokens = (1, 2, 3, *(100 + context,) * 20, *(50 + question,) * 5)
            prompts.append(Prompt(f"Age:{context}-{question}", tokens))
    arranged = plan(prompts, 8)
    assert arranged.root == (1, 2, 3)
    assert all(len(group.prompts) == 2 and group.shared == 23 for b in arranged.batches for group in b)
    assert arranged.computed_tokens() == 3 + 10 * 20 + 20 * 5


def test_common_prefix_counts_leading_tokens():
    assert common_prefix((1, 2, 3), (1, 2, 4, 5)) == 2
    assert common_prefix((1, 2), (1, 2, 4)) == 2
    assert common_prefix((), (1,)) == 0
