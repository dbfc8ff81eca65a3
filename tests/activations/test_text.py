"""Calibration text: distinct stretches of it, as long as text and model allow, or a sentence saying why."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from tiny_models import save_tiny_model

from mlx_prune.activations import text as module
from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.chat.tokenizer import open_tokenizer
from mlx_prune.errors import DataError, RecipeError

CONFIG = {"max_position_embeddings": 512}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return open_tokenizer(save_tiny_model(tmp_path_factory.mktemp("m"), "llama")).tokenizer


def test_sequences_are_distinct_stretches_of_the_text(tokenizer, calibration_file):
    data = calibration_tokens(Calibration(calibration_file, 9, 31), tokenizer, CONFIG, 0)
    ids = np.array(tokenizer.encode(calibration_file.read_text(), add_special_tokens=False))
    stretches = {tuple(ids[i : i + 31]) for i in range(0, ids.size - 30, 31)}
    found = {tuple(row) for row in data.tokens}
    assert data.tokens.shape == (9, 31)
    assert len(found) == 9
    assert found <= stretches
    assert data.sha256 == hashlib.sha256(calibration_file.read_bytes()).hexdigest()
    again = calibration_tokens(Calibration(calibration_file, 9, 31), tokenizer, CONFIG, 0)
    other = calibration_tokens(Calibration(calibration_file, 9, 31), tokenizer, CONFIG, 1)
    assert again.tokens_sha256 == data.tokens_sha256 != other.tokens_sha256


def test_sizes_left_open_take_what_text_and_model_allow(tokenizer, tmp_path, calibration_file):
    total = len(tokenizer.encode(calibration_file.read_text(), add_special_tokens=False))
    data = calibration_tokens(Calibration(calibration_file), tokenizer, CONFIG, 0)
    assert data.tokens.shape == (min(128, total // 512), 512)
    short = tmp_path / "short.txt"
    short.write_text("The teacher was late.")
    data = calibration_tokens(Calibration(short), tokenizer, CONFIG, 0)
    assert data.tokens.shape == (1, len(tokenizer.encode("The teacher was late.")))


def test_too_short_a_text_says_how_many_tokens_are_missing(tokenizer, calibration_file):
    total = len(tokenizer.encode(calibration_file.read_text(), add_special_tokens=False))
    with pytest.raises(DataError, match=f"holds {total:,} tokens, {100 * 500 - total:,} too few for 100"):
        calibration_tokens(Calibration(calibration_file, 100, 500), tokenizer, CONFIG, 0)


def test_an_empty_text_is_refused(tokenizer, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="holds 0 tokens"):
        calibration_tokens(Calibration(tmp_path / "empty.txt"), tokenizer, CONFIG, 0)


def test_sequences_longer_than_the_model_takes_are_refused(tokenizer, calibration_file):
    with pytest.raises(DataError, match="takes at most 512 tokens"):
        calibration_tokens(Calibration(calibration_file, 1, 513), tokenizer, CONFIG, 0)
    with pytest.raises(RecipeError, match="at least one sample"):
        Calibration(calibration_file, 0)


def test_jsonl_joins_the_documents(tokenizer, tmp_path):
    file = tmp_path / "docs.jsonl"
    texts = ["The teacher was late.", "", "Who was late?"]
    file.write_text("\n".join(json.dumps({"text": text, "id": i}) for i, text in enumerate(texts)) + "\n\n")
    plain = tmp_path / "docs.txt"
    plain.write_text("\n\n".join(texts))
    size = {"samples": 1, "sequence_length": 8}
    assert (
        calibration_tokens(Calibration(file, **size), tokenizer, CONFIG, 0).tokens_sha256
        == calibration_tokens(Calibration(plain, **size), tokenizer, CONFIG, 0).tokens_sha256
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": ', "line 2: not valid JSON"),
        (b'{"text": "a"}\n{"body": "b"}\n', 'line 2 has no string field "text"'),
        (b"[1]\n", "line 1: must be a JSON object"),
        (b'{"text": "\xff"}', "not UTF-8"),
    ],
)
def test_malformed_jsonl_names_the_line(tokenizer, tmp_path, content, message):
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        calibration_tokens(Calibration(file), tokenizer, CONFIG, 0)


def test_a_missing_file_is_one_sentence(tokenizer, tmp_path):
    with pytest.raises(DataError, match="There is no text file"):
        calibration_tokens(Calibration(tmp_path / "none.txt"), tokenizer, CONFIG, 0)


def test_sequences_begin_with_bos_where_the_tokenizer_puts_one(tokenizer, calibration_file):
    class WithBos:
        bos_token_id = 0

        def encode(self, text, add_special_tokens=True, **_):
            return [0] * add_special_tokens + tokenizer.encode(text, add_special_tokens=False)

    plain = calibration_tokens(Calibration(calibration_file, 4, 20), tokenizer, CONFIG, 0)
    with_bos = calibration_tokens(Calibration(calibration_file, 4, 21), WithBos(), CONFIG, 0)
    assert (with_bos.tokens[:, 0] == 0).all()
    np.testing.assert_array_equal(with_bos.tokens[:, 1:], plain.tokens)


def test_c4_takes_one_stretch_of_each_long_document(tokenizer, monkeypatch):
    documents = ["Who was late?", "The teacher met the student at the market. " * 4, "A B C D E F G H " * 9]
    monkeypatch.setattr(module, "_c4_documents", lambda: iter(documents))
    data = calibration_tokens(Calibration("c4", 2, 25), tokenizer, CONFIG, 0)
    for row, document in zip(data.tokens, documents[1:], strict=True):
        ids = tokenizer.encode(document)
        assert any((row == ids[i : i + 25]).all() for i in range(len(ids) - 24))
    with pytest.raises(DataError, match="only 2 documents"):
        calibration_tokens(Calibration("c4", 3, 25), tokenizer, CONFIG, 0)


def test_c4_out_of_reach_is_one_sentence(tokenizer, monkeypatch):
    import datasets

    def unreachable(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        DataError, match=r"allenai/c4 cannot be read from the Hub \(Name or service not known\)"
    ):
        calibration_tokens(Calibration("c4", 2, 25), tokenizer, CONFIG, 0)


def test_one_calibration_reads_and_cuts_its_text_once(tokenizer, calibration_file, tmp_path, monkeypatch):
    tokenized = []
    joined = module.joined_tokens
    monkeypatch.setattr(module, "joined_tokens", lambda *given: tokenized.append(given[0]) or joined(*given))
    asked = Calibration(calibration_file, 9, 30)
    first = calibration_tokens(asked, tokenizer, CONFIG, 5)
    assert calibration_tokens(asked, tokenizer, CONFIG, 5) is first
    assert len(tokenized) == 1
    assert calibration_tokens(asked, tokenizer, CONFIG, 6) is not first
    text = calibration_file.read_text()
    changed = tmp_path / "changed.txt"
    changed.write_text(text)
    before = calibration_tokens(Calibration(changed, 9, 30), tokenizer, CONFIG, 5)
    changed.write_text(f"Another beginning. {text}")
    after = calibration_tokens(Calibration(changed, 9, 30), tokenizer, CONFIG, 5)
    assert after.tokens_sha256 != before.tokens_sha256
    with pytest.raises(DataError, match="at most 29"):
        calibration_tokens(Calibration(changed, 9, 30), tokenizer, {"max_position_embeddings": 29}, 5)
