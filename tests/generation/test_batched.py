"""Answers in batches are those of mlx-lm one at a time, whatever the batch."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from agreement import answer_all, assert_agrees, compare, make_prompts
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.generation.batched import BatchedEngine
from mlx_prune.generation.interface import GenerationSettings

SLIDING = {
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    "sliding_window": 17,
}
CASES = [(name, {}) for name in ARCHITECTURES] + [("llama", SLIDING)]
# At this temperature random models scatter their draws, end-of-sequence among them.
WILD = GenerationSettings(temperature=1.0, seeds=(42, 123, 456))


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    known = {}

    def loaded(architecture, **overrides):
        key = (architecture, str(overrides))
        if key not in known:
            folder = tmp_path_factory.mktemp("model")
            known[key] = checkpoints.load(save_tiny_model(folder, architecture, **overrides))
        return known[key]

    return loaded


@pytest.fixture
def ending():
    """Makes many tokens end an answer, and puts the tokenizer right afterwards."""
    changed = []

    def end_often(tokenizer):
        changed.append((tokenizer, set(tokenizer.eos_token_ids)))
        tokenizer.eos_token_ids = {1, *range(100, 150)}

    yield end_often
    for tokenizer, before in changed:
        tokenizer.eos_token_ids = before


@pytest.mark.parametrize(("architecture", "overrides"), CASES)
def test_batched_answers_are_those_of_stream_generate(load, ending, architecture, overrides):
    loaded = load(architecture, **overrides)
    ending(loaded.tokenizer)
    prompts = make_prompts(loaded.tokenizer, 14)
    engine = BatchedEngine(loaded.model, loaded.tokenizer, WILD, batch_size=8)
    agreement = compare(loaded.model, loaded.tokenizer, WILD, engine, prompts)
    assert engine.sharing, engine.note
    assert_agrees(agreement)
    assert 0 < agreement.ended_early < agreement.answers
    if overrides:
        assert max(len(prompt.tokens) for prompt in prompts) > overrides["sliding_window"] + 5


@pytest.mark.parametrize(
    "changes",
    [{"noise": "seed", "temperature": 0.3}, {"temperature": 0.0}, {"max_tokens": 1}, {"seeds": (7,)}],
    ids=str,
)
def test_every_setting_gives_the_answers_of_stream_generate(load, changes):
    loaded = load("llama")
    settings = dataclasses.replace(WILD, **changes)
    engine = BatchedEngine(loaded.model, loaded.tokenizer, settings, batch_size=4)
    agreement = compare(
        loaded.model, loaded.tokenizer, settings, engine, make_prompts(loaded.tokenizer, 6, seed=3)
    )
    assert_agrees(agreement)


def test_answers_depend_on_neither_batch_size_nor_order_nor_company(load):
    loaded = load("qwen3")
    prompts = make_prompts(loaded.tokenizer, 12)
    whole = answer_all(BatchedEngine(loaded.model, loaded.tokenizer, WILD, batch_size=12), prompts)
    singly = answer_all(BatchedEngine(loaded.model, loaded.tokenizer, WILD, batch_size=1), prompts[::-1])
    alone = answer_all(BatchedEngine(loaded.model, loaded.tokenizer, WILD), prompts[5:6])
    for item_id, answered in whole.items():
        assert answered.answers == singly[item_id].answers
        np.testing.assert_allclose(
            answered.letter_probabilities, singly[item_id].letter_probabilities, atol=1e-6
        )
    assert alone[prompts[5].item_id].answers == whole[prompts[5].item_id].answers


def test_no_prompts_give_no_answers(load):
    loaded = load("llama")
    assert list(BatchedEngine(loaded.model, loaded.tokenizer, WILD).answer([])) == []


def test_recurrent_models_are_answered_singly_and_rightly(ending, tmp_path):
    from mlx_lm.models.mamba import Model, ModelArgs

    folder = save_tiny_model(tmp_path / "llama")
    tokenizer = checkpoints.load(folder).tokenizer
    ending(tokenizer)
    mx.random.seed(0)
    model = Model(
        ModelArgs(
            model_type="mamba",
            vocab_size=330,
            hidden_size=24,
            intermediate_size=48,
            state_size=8,
            num_hidden_layers=2,
            conv_kernel=4,
            use_bias=False,
            use_conv_bias=True,
            time_step_rank=4,
        )
    )
    mx.eval(model.parameters())
    engine = BatchedEngine(model, tokenizer, WILD)
    agreement = compare(model, tokenizer, WILD, engine, make_prompts(tokenizer, 5))
    assert engine.sharing is False
    assert "ArraysCache" in engine.note
    assert_agrees(agreement)
    assert agreement.ended_early > 0


def test_a_model_that_errs_on_shared_caches_is_noticed_and_answered_rightly(load, monkeypatch):
    loaded = load("phi3")
    layer = type(loaded.model.model.layers[0].self_attn)
    original = layer.__call__

    def row_dependent(self, x, mask=None, cache=None):
        out = original(self, x, mask, cache)
        return out if type(cache).__name__ == "KVCache" else out * 1.5

    monkeypatch.setattr(layer, "__call__", row_dependent)
    engine = BatchedEngine(loaded.model, loaded.tokenizer, WILD)
    agreement = compare(loaded.model, loaded.tokenizer, WILD, engine, make_prompts(loaded.tokenizer, 4))
    assert engine.sharing is False
    assert "logits change" in engine.note
    assert_agrees(agreement)


def test_a_model_that_needs_its_own_cache_class_is_noticed(load, monkeypatch):
    loaded = load("mistral")
    layer = type(loaded.model.model.layers[0].self_attn)
    original = layer.__call__

    def choosy(self, x, mask=None, cache=None):
        if type(cache).__name__ in ("RowCache", "PackedCache"):
            raise TypeError("unexpected cache")
        return original(self, x, mask, cache)

    monkeypatch.setattr(layer, "__call__", choosy)
    engine = BatchedEngine(loaded.model, loaded.tokenizer, WILD)
    prompts = make_prompts(loaded.tokenizer, 3)
    agreement = compare(loaded.model, loaded.tokenizer, WILD, engine, prompts)
    assert engine.sharing is False
    assert_agrees(agreement)


def test_half_precision_shares_caches_and_mostly_agrees(load):
    loaded = checkpoints.load(load("llama").path, dtype="bfloat16")
    engine = BatchedEngine(loaded.model, loaded.tokenizer, WILD)
    agreement = compare(loaded.model, loaded.tokenizer, WILD, engine, make_prompts(loaded.tokenizer, 6))
    assert engine.sharing, engine.note
    assert agreement.identical >= 0.7 * agreement.answers


def test_letter_probabilities_agree_with_sampled_frequencies(load):
    loaded = load("gemma2")
    tokenizer = loaded.tokenizer
    seeds = tuple(range(400))
    settings = GenerationSettings(temperature=2.0, max_tokens=1, seeds=seeds)
    prompts = make_prompts(tokenizer, 6)
    counts, expected, variance = np.zeros(3), np.zeros(3), np.zeros(3)
    engine = BatchedEngine(loaded.model, tokenizer, settings)
    for answered in answer_all(engine, prompts).values():
        letters = [answer.text.strip().removeprefix("(").strip().lower() for answer in answered.answers]
        p = np.array(answered.letter_probabilities)
        counts += [letters.count(letter) for letter in "abc"]
        expected += len(seeds) * p
        variance += len(seeds) * p * (1 - p)
    assert (expected > 5).all()
    assert (np.abs(counts - expected) < 4.5 * np.sqrt(variance)).all()
