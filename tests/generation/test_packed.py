"""Many prompts as one sequence: which models can, and that the way of rows stays right for the others."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from agreement import answer_all, assert_agrees, compare, make_prompts
from mlx_lm.models.cache import make_prompt_cache
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.environment import backend
from mlx_prune.generation import packing, probe
from mlx_prune.generation.batched import BatchedEngine
from mlx_prune.generation.forest import plant
from mlx_prune.generation.head import find_backbone
from mlx_prune.generation.interface import GenerationSettings, Prompt

SLIDING = {
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    "sliding_window": 5,
}
WILD = GenerationSettings(temperature=1.0, seeds=(42, 123, 456))
# Gemma 2 computes attention itself, to squash its scores.
ROWS_ONLY = {"gemma2"}

pytestmark = pytest.mark.skipif(backend() != "cpu", reason="a GPU takes prompts as rows")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_are_packed_or_seen_not_to_allow_it(tmp_path, architecture):
    loaded = checkpoints.load(save_tiny_model(tmp_path, architecture))
    engine = BatchedEngine(loaded.model, loaded.tokenizer, WILD, batch_size=4)
    answer_all(engine, make_prompts(loaded.tokenizer, 3))
    assert engine.packed is (architecture not in ROWS_ONLY)
    assert engine.sharing


@pytest.mark.parametrize(("architecture", "overrides"), [("qwen3", {}), ("llama", SLIDING)], ids=str)
def test_answers_by_rows_are_those_of_packed_forwards(tmp_path, monkeypatch, architecture, overrides):
    loaded = checkpoints.load(save_tiny_model(tmp_path, architecture, **overrides))
    monkeypatch.setitem(probe.PACKED, "cpu", False)
    engine = BatchedEngine(loaded.model, loaded.tokenizer, WILD, batch_size=6)
    assert_agrees(
        compare(loaded.model, loaded.tokenizer, WILD, engine, make_prompts(loaded.tokenizer, 10, seed=5))
    )
    assert engine.sharing
    assert not engine.packed


def test_answers_longer_than_a_window_over_many_forwards(tmp_path, monkeypatch):
    loaded = checkpoints.load(save_tiny_model(tmp_path, "llama", **SLIDING))
    loaded.tokenizer.eos_token_ids = {1, *range(100, 120)}
    monkeypatch.setattr(packing, "_TOKENS_PER_FORWARD", 40)
    settings = dataclasses.replace(WILD, max_tokens=9)
    engine = BatchedEngine(loaded.model, loaded.tokenizer, settings, batch_size=12)
    agreement = compare(
        loaded.model, loaded.tokenizer, settings, engine, make_prompts(loaded.tokenizer, 12, seed=7)
    )
    assert engine.packed
    assert_agrees(agreement)
    assert 0 < agreement.ended_early < agreement.answers


@pytest.mark.parametrize("root", [0, 1, 9])
def test_logits_are_those_of_single_prompts_with_and_without_a_root(tmp_path, root):
    model = checkpoints.load(save_tiny_model(tmp_path, **SLIDING)).model
    rng = np.random.default_rng(root)
    start = rng.integers(0, 300, root).tolist()
    tokens = [[number, *rng.integers(0, 300, 4 + 3 * number).tolist()] for number in range(5)]
    prompts = [Prompt(str(i), (*start, *own)) for i, own in enumerate([*tokens, tokens[2][:-2]])]
    forest = plant(prompts, 8)
    assert len(forest.root) == root
    batch = packing.PackedBatch(model, find_backbone(model))
    batch.root(forest.root)
    batch.start()
    found = batch.prefill([forest.batches[0]])
    ordered = [prompt for tree in forest.batches[0] for prompt in tree.prompts]
    for row, prompt in enumerate(ordered):
        expected = model(mx.array([prompt.tokens]), cache=make_prompt_cache(model))[0, -1]
        np.testing.assert_allclose(found[row], expected, atol=1e-4)


def test_logits_of_a_large_tree_whose_prompts_part_early_late_and_not_at_all(tmp_path):
    model = checkpoints.load(save_tiny_model(tmp_path, **SLIDING)).model
    rng = np.random.default_rng(5)
    start = rng.integers(0, 300, 30).tolist()
    tokens = [[*start, number % 3, *rng.integers(0, 300, 20 + 9 * number).tolist()] for number in range(9)]
    tokens += [tokens[3], [*tokens[8][:-4], 7], [*tokens[8], 1, 2, 3]]
    prompts = [Prompt(str(number), (number % 2, *own)) for number, own in enumerate([*tokens, *tokens])]
    forest = plant(prompts, len(prompts))
    assert not forest.root
    assert max(len(tree.prompts) for tree in forest.batches[0]) > 6
    batch = packing.PackedBatch(model, find_backbone(model))
    batch.start()
    ordered = [prompt for tree in forest.batches[0] for prompt in tree.prompts]
    found = [batch.prefill([forest.batches[0]])]
    found.append(batch.step([(row, 5) for row in range(len(ordered))]))
    for row, prompt in enumerate(ordered):
        expected = model(mx.array([(*prompt.tokens, 5)]), cache=make_prompt_cache(model))[0, -2:]
        np.testing.assert_allclose([logits[row] for logits in found], expected, atol=1e-4)
