"""Noise is keyed, and draws follow the softmax."""

import hashlib

import mlx.core as mx
import numpy as np
import pytest
from scipy import stats

from mlx_prune.generation.interface import GenerationSettings
from mlx_prune.generation.sampling import Noise, StreamSampler, item_key, log_probabilities, perturb
from mlx_prune.generation.threefry import LARGEST_GUMBEL, bits_at, gumbel_at


def test_item_keys_are_words_of_a_blake2b_digest():
    digest = hashlib.blake2b(b"42\x1f3\x1fAge:7", digest_size=8).hexdigest()
    assert item_key(42, "Age:7", 3) == (int(digest[:8], 16), int(digest[8:], 16))
    # Spelled out, so that a change of the scheme cannot pass unnoticed.
    assert item_key(42, "Age:7", 3) == (1164775633, 397013249)


def test_every_draw_has_a_key_of_its_own():
    keys = {
        item_key(s, f"{c}:{i}", t) for s in (1, 11) for c in ("A", "B") for i in range(200) for t in range(5)
    }
    assert len(keys) == 2 * 2 * 200 * 5


def assert_same_noise(found, expected):
    """The same uniform bits; the logarithms of vectors and of single numbers may round apart."""
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("vocabulary", [5, 33, 1000])
def test_item_noise_is_the_same_alone_and_in_company(vocabulary):
    noise = Noise("item", vocabulary)
    pairs = [(42, "Age:1"), (42, "Age:2"), (7, "Age:1")]
    together = noise.draw(pairs, 2)
    assert together.shape == (3, vocabulary)
    for row, pair in zip(together, pairs, strict=True):
        assert_same_noise(row, noise.draw([pair], 2)[0])
        key = mx.array(item_key(*pair, 2), mx.uint32)
        assert_same_noise(row, mx.random.gumbel((vocabulary,), key=key))


def test_item_noise_differs_between_items_seeds_and_steps():
    noise = Noise("item", 50)
    rows = [noise.draw([p], s)[0] for p, s in [((1, "a"), 0), ((2, "a"), 0), ((1, "b"), 0), ((1, "a"), 1)]]
    for i, left in enumerate(rows):
        for right in rows[:i]:
            assert not np.isclose(np.array(left), np.array(right), rtol=1e-3).all()


def test_item_noise_leaves_the_global_generator_alone():
    mx.random.seed(5)
    before = mx.random.uniform()
    mx.random.seed(5)
    Noise("item", 50).draw([(1, "a")], 0)
    Noise("seed", 50).draw([(1, "a")], 3)
    assert mx.random.uniform() == before


def test_seed_noise_is_the_chain_of_the_global_generator():
    noise = Noise("seed", 31)
    mx.random.seed(1024)
    chain = [mx.random.gumbel((1, 31))[0] for _ in range(6)]
    # Out of order on purpose: a later step may be asked for first.
    for step in (4, 0, 5, 2):
        drawn = noise.draw([(1024, "x"), (1024, "y")], step)
        assert_same_noise(drawn[0], chain[step])
        assert_same_noise(drawn[1], chain[step])


@pytest.mark.parametrize("kind", ["item", "seed"])
def test_draws_follow_the_softmax_at_the_temperature(kind):
    logits = np.array([2.0, 1.0, 0.5, -1.0, 0.0], dtype=np.float32)
    logprobs = log_probabilities(mx.array(logits)[None])
    count = 4000
    pairs = (
        [(seed, "Age:1") for seed in range(count)] if kind == "seed" else [(1, str(i)) for i in range(count)]
    )
    scores = perturb(mx.repeat(logprobs, count, axis=0), 0.7, Noise(kind, 5).draw(pairs, 0))
    observed = np.bincount(np.array(mx.argmax(scores, axis=-1)), minlength=5)
    p = np.exp(logits.astype(np.float64) / 0.7)
    assert stats.chisquare(observed, count * p / p.sum()).pvalue > 1e-4


def test_log_probabilities_match_numpy():
    logits = np.random.default_rng(0).normal(0, 5, (4, 77))
    expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(log_probabilities(mx.array(logits)), expected, atol=1e-5)


def test_the_stream_sampler_counts_its_steps():
    settings = GenerationSettings(temperature=0.5)
    noise = Noise("item", 40)
    sampler = StreamSampler(settings, noise, 9, "Age:1")
    logprobs = log_probabilities(mx.random.normal((1, 40), key=mx.random.key(0)))
    drawn = [sampler(logprobs).item() for _ in range(8)]
    expected = [
        mx.argmax(perturb(logprobs, 0.5, noise.draw([(9, "Age:1")], step)), axis=-1).item()
        for step in range(8)
    ]
    assert drawn == expected
    assert len(set(drawn)) > 1


def test_temperature_zero_takes_the_best_token():
    sampler = StreamSampler(GenerationSettings(temperature=0), Noise("item", 4), 1, "a")
    assert sampler(mx.array([[0.1, 0.9, 0.3, 0.2]])).item() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1),
        ("temperature", float("nan")),
        ("max_tokens", 0),
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("seeds", (-1,)),
        ("noise", "both"),
    ],
)
def test_senseless_settings_are_refused(field, value):
    from mlx_prune.errors import DataError

    with pytest.raises(DataError, match=field):
        GenerationSettings(**{field: value})


@pytest.mark.parametrize("vocabulary", [2, 3, 5, 33, 1000, 49152])
def test_single_numbers_of_the_stream_are_those_of_the_whole_array(vocabulary):
    pairs = [(42, "Age:1"), (7, "Age:1")]
    keys = np.array([item_key(*pair, 2) for pair in pairs], np.uint32)
    whole = np.array(Noise("item", vocabulary).draw(pairs, 2))
    index = np.arange(vocabulary)
    for key, expected in zip(keys, whole, strict=True):
        uniform = np.array(mx.random.uniform(shape=(vocabulary,), key=mx.array(key)))
        bits = bits_at(np.tile(key, (vocabulary, 1)), index, vocabulary)
        # Nearest float32 of the bits over the largest number, below 1.
        np.testing.assert_array_equal(
            np.minimum(
                bits.astype(np.float32) / np.float32(2**32), np.nextafter(np.float32(1), np.float32(0))
            ),
            uniform,
        )
        assert_same_noise(gumbel_at(np.tile(key, (vocabulary, 1)), index, vocabulary), expected)
        assert expected.max() <= LARGEST_GUMBEL + 1e-5


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("spread", [0.5, 3.0, 12.0])
def test_noise_where_it_can_win_draws_what_noise_everywhere_draws(temperature, spread):
    rng = np.random.default_rng(int(10 * spread))
    vocabulary, pairs, rows = 4099, [(s, f"i:{i}") for i in range(40) for s in (1, 2, 3)], []
    rows = [i // 3 for i in range(len(pairs))]
    logprobs = log_probabilities(mx.array(rng.normal(scale=spread, size=(40, vocabulary)).astype(np.float32)))
    noise = Noise("item", vocabulary)
    for step in (0, 3):
        whole = perturb(logprobs[mx.array(rows)], temperature, noise.draw(pairs, step))
        scores = np.array(logprobs * (1.0 / temperature))
        found = noise.chosen(scores, rows, pairs, step)
        expected = np.array(mx.argmax(whole, axis=-1))
        best = np.sort(np.array(whole), axis=1)
        # Two sums within rounding of each other may change places.
        tied = best[:, -1] - best[:, -2] < 1e-4
        assert ((found == expected) | tied).all()
        assert tied.mean() < 0.05


def test_scores_that_are_not_numbers_are_told():
    scores = np.zeros((2, 9), np.float32)
    scores[1, 3] = np.nan
    assert Noise("item", 9).chosen(scores, [0, 1], [(1, "a"), (1, "b")], 0)[1] == -1
