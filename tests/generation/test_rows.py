"""Caches whose rows are copied and dropped compute what the models' own caches do."""

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache, QuantizedKVCache, RotatingKVCache, make_prompt_cache
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.generation.head import find_backbone
from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.probe import try_out
from mlx_prune.generation.rows import Part, RowCache, joined, row_caches

SLIDING = {
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    "sliding_window": 6,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.load(save_tiny_model(tmp_path_factory.mktemp("model"), **SLIDING)).model


def feed(model, caches, tokens, sizes):
    """Logits of all positions, the tokens fed in pieces."""
    logits, start = [], 0
    for size in sizes:
        logits.append(model(mx.array([tokens[start : start + size]]), cache=caches))
        start += size
    return np.array(mx.concatenate(logits, axis=1))


@pytest.mark.parametrize("spare", [0, 2, 50])
@pytest.mark.parametrize("sizes", [[15], [5, 10], [1, 4, 1, 1, 7, 1]], ids=str)
def test_logits_are_those_of_the_model_s_own_caches(model, sizes, spare):
    tokens = np.random.default_rng(0).integers(0, 300, 15).tolist()
    caches = row_caches(make_prompt_cache(model))
    assert [cache.window for cache in caches] == [None, 6, None]
    for cache in caches:
        cache.spare = spare
    expected = feed(model, make_prompt_cache(model), tokens, [1] * 15)
    np.testing.assert_allclose(feed(model, caches, tokens, sizes), expected, atol=1e-4)
    assert [cache.offset for cache in caches] == [15] * 3


def test_copied_rows_go_on_independently(model):
    rng = np.random.default_rng(1)
    prompts = rng.integers(0, 300, (2, 9)).tolist()
    caches = row_caches(make_prompt_cache(model))
    model(mx.array(prompts), cache=caches)
    # The second prompt's first 8 tokens twice, and the first's, each with its own next token.
    copies = joined([Part(caches, [1, 1, 0], [8, 8, 8])], 3)
    nexts = [11, 12, 13]
    for _ in range(2):
        found = model(mx.array([[token] for token in nexts]), cache=copies)[:, -1]
    for row, (prompt, token) in enumerate(zip([prompts[1], prompts[1], prompts[0]], nexts, strict=True)):
        alone = model(mx.array([[*prompt[:8], token, token]]), cache=make_prompt_cache(model))[0, -1]
        np.testing.assert_allclose(found[row], alone, atol=1e-4)
    # What the copies did left the original alone.
    assert caches[0].offset == 9
    found = model(mx.array([[5], [6]]), cache=caches)[:, -1]
    alone = model(mx.array([[*prompts[1], 6]]), cache=make_prompt_cache(model))[0, -1]
    np.testing.assert_allclose(found[1], alone, atol=1e-4)


def test_spare_slots_are_written_in_place_and_beyond_them_it_grows():
    cache = RowCache(spare=2)
    rng = np.random.default_rng(2)
    pieces = [rng.normal(size=(3, 2, size, 4)).astype(np.float32) for size in (5, 1, 1, 1, 4)]
    capacities = []
    for piece in pieces:
        keys, values = cache.update_and_fetch(mx.array(piece), mx.array(-piece))
        capacities.append(cache.keys.shape[2])
    np.testing.assert_array_equal(keys, np.concatenate(pieces, axis=2))
    np.testing.assert_array_equal(values, -np.concatenate(pieces, axis=2))
    assert capacities == [7, 7, 7, 10, 14]


def test_caches_that_cannot_be_shared_are_told_apart():
    assert row_caches([KVCache(), RotatingKVCache(max_size=8)])[1].window == 8
    for odd in (RotatingKVCache(max_size=8, keep=4), ArraysCache(2), QuantizedKVCache()):
        assert row_caches([KVCache(), odd]) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("window", [None, 6])
def test_rows_of_different_lengths_go_on_as_each_would_alone(tmp_path, architecture, window):
    sliding = {"sliding_window": window} if window and architecture in ("mistral", "gemma2") else {}
    model = checkpoints.load(save_tiny_model(tmp_path / "m", architecture, **sliding)).model
    rng = np.random.default_rng(3)
    prompts = [rng.integers(0, 300, size).tolist() for size in (9, 4, 13, 7, 12)]
    prompt = [Prompt(str(i), tuple(tokens)) for i, tokens in enumerate(prompts)]
    axes = try_out(model, find_backbone(model), prompt).mask_axes
    parts = []
    for some in (prompts[:2], prompts[2:]):
        caches = row_caches(make_prompt_cache(model), axes)
        wide = [tokens + [0] * (max(map(len, some)) - len(tokens)) for tokens in some]
        model(mx.array(wide), cache=caches)
        # Rows are taken out of order and twice.
        index = [*reversed(range(len(some))), 0]
        parts.append(Part(caches, index, [len(some[row]) for row in index]))
    order = [1, 0, 0, 4, 3, 2, 2]
    caches = joined(parts, 2)
    following = rng.integers(0, 300, (len(order), 4))
    for step in range(4):
        found = model(mx.array(following[:, step : step + 1]), cache=caches)[:, -1]
        if step == 1:
            kept = [5, 1, 6, 0]
            caches, following = [cache.rows(kept, 1) for cache in caches], following[kept]
            order = [order[row] for row in kept]
            found = found[mx.array(kept)]
        for row, number in enumerate(order):
            whole = [*prompts[number], *following[row, : step + 1].tolist()]
            alone = model(mx.array([whole]), cache=make_prompt_cache(model))[0, -1]
            np.testing.assert_allclose(found[row], alone, atol=1e-4)
