"""Answers' text is what mlx-lm streams, and letters are found among the tokens."""

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import NaiveStreamingDetokenizer, TokenizerWrapper
from mlx_lm.utils import load_tokenizer
from tiny_models import save_tiny_model

from mlx_prune.generation.tokens import AnswerText, LetterProbabilities, letter_tokens


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(save_tiny_model(tmp_path_factory.mktemp("model")))


class _Scripted:
    """A model that says what it is told: its next token follows from the last one's position."""

    def __init__(self, script, vocabulary):
        self.script, self.vocabulary, self.layers = script, vocabulary, []
        self.step = -1

    def __call__(self, tokens, cache=None, **_):
        self.step += 1
        token = self.script[min(self.step, len(self.script) - 1)]
        return mx.where(mx.arange(self.vocabulary) == token, 50.0, 0.0)[None, None]


@pytest.mark.parametrize("kind", ["inferred", "naive"])
def test_text_is_what_stream_generate_streams(tokenizer, kind):
    from mlx_lm import stream_generate

    if kind == "naive":
        tokenizer = TokenizerWrapper(tokenizer._tokenizer, NaiveStreamingDetokenizer)
    rng = np.random.default_rng(1)
    newline = tokenizer.encode("\n", add_special_tokens=False)
    umlaut = tokenizer.encode("ü", add_special_tokens=False)
    scripts = [tuple(rng.integers(0, len(tokenizer.get_vocab()), 5).tolist()) for _ in range(40)]
    scripts += [(*newline, *umlaut, *newline)[:5], (*umlaut[:1], 1), (1,), (*umlaut[:1],) * 5, (*newline, 1)]
    text = AnswerText(tokenizer, 5)
    for script in scripts:
        model = _Scripted(script, len(tokenizer.get_vocab()))
        responses = list(stream_generate(model, tokenizer, [5], max_tokens=5, prompt_cache=[]))
        drawn = tuple(int(response.token) for response in responses)
        assert text(drawn) == "".join(response.text for response in responses), script


def test_letter_tokens_decode_to_the_letter(tokenizer):
    letters = letter_tokens(tokenizer)
    by_decoding = [
        tuple(
            index
            for index in range(len(tokenizer.get_vocab()))
            if tokenizer.decode([index]).strip().removeprefix("(").strip() in (letter, letter.lower())
        )
        for letter in "ABC"
    ]
    assert list(letters) == by_decoding
    assert all(letters)


@pytest.mark.parametrize("name", ["phi-3", "phi-3-mini"])
def test_letter_tokens_of_real_tokenizers(real_data, name):
    tokenizer = load_tokenizer(real_data / "tokenizers" / name)
    for letter, ids in zip("ABC", letter_tokens(tokenizer), strict=True):
        for variant in (letter, f" {letter}", letter.lower()):
            assert tokenizer.encode(f"{variant}", add_special_tokens=False)[-1] in ids
        assert all(tokenizer.decode([index]).strip().strip("(").upper() == letter for index in ids)


def test_letter_probabilities_match_numpy(tokenizer):
    logits = np.random.default_rng(0).normal(0, 3, (3, len(tokenizer.get_vocab())))
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    sharp, plain = LetterProbabilities(tokenizer, 0.4)(mx.array(logprobs.astype(np.float32)))
    for found, temperature in ((sharp, 0.4), (plain, 1.0)):
        p = np.exp(logprobs / temperature)
        p /= p.sum(-1, keepdims=True)
        expected = np.stack([p[:, list(ids)].sum(-1) for ids in letter_tokens(tokenizer)], axis=-1)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_letter_probabilities_at_temperature_zero_sit_on_the_best_token(tokenizer):
    a = letter_tokens(tokenizer)[0][0]
    logprobs = mx.log(
        mx.where(mx.arange(len(tokenizer.get_vocab())) == a, 0.5, 0.5 / len(tokenizer.get_vocab()))
    )[None]
    sharp, _ = LetterProbabilities(tokenizer, 0.0)(logprobs)
    assert sharp.tolist() == [[1.0, 0.0, 0.0]]
