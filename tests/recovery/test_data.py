"""What is learned from and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
from recovering import short, write_text
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import CheckpointError, DataError
from mlx_prune.recovery.data import training_data
from mlx_prune.text import encode


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Checkpoint(save_tiny_model(tmp_path_factory.mktemp("m"), "llama"))


@pytest.fixture(scope="module")
def tokenizer(model):
    return model.tokenizer().tokenizer


def test_a_tenth_of_a_short_text_is_held_out_and_nothing_is_lost(tmp_path, model, tokenizer):
    text = write_text(tmp_path / "text.txt")
    data = training_data(text, tokenizer, model.config, short(sequence_length=10))
    ids = encode(tokenizer, text.read_text())
    both = np.concatenate([data.train, data.held_out])
    assert both.shape == (len(ids) // 10, 10)
    np.testing.assert_array_equal(both.reshape(-1), ids[: both.size])
    assert len(data.held_out) == round(0.1 * len(both))


def test_a_long_text_holds_out_no_more_than_it_takes(tmp_path, model, tokenizer):
    text = write_text(tmp_path / "text.txt", words=6000)
    data = training_data(text, tokenizer, model.config, short(sequence_length=8))
    assert len(data.train) > 10 * len(data.held_out) == 320


@pytest.mark.parametrize(("steps", "held_out"), [(0, 16), (8, 16), (400, 20)])
def test_a_short_training_holds_out_fewer_so_that_evaluations_take_little_of_its_time(
    tmp_path, model, tokenizer, steps, held_out
):
    text = write_text(tmp_path / "text.txt", words=20_000)
    data = training_data(text, tokenizer, model.config, short(sequence_length=64, steps=steps))
    assert len(data.held_out) == held_out


def test_a_short_text_gives_shorter_sequences_unless_their_length_was_given(tmp_path, model, tokenizer):
    text = write_text(tmp_path / "text.txt", words=100)
    data = training_data(text, tokenizer, model.config, short(sequence_length=None))
    assert data.train.shape[1] < 100
    assert len(data.train) >= 15
    with pytest.raises(DataError, match="too few for two sequences of 400"):
        training_data(text, tokenizer, model.config, short(sequence_length=400))


def test_sequences_are_no_longer_than_the_model_takes(tmp_path, model, tokenizer):
    text = write_text(tmp_path / "text.txt")
    with pytest.raises(DataError, match="takes at most 512 tokens"):
        training_data(text, tokenizer, model.config, short(sequence_length=513))
    with pytest.raises(CheckpointError, match="the model's embedding has 20 rows"):
        training_data(text, tokenizer, model.config | {"vocab_size": 20}, short())


def test_the_tokens_are_hashed_with_their_parting(tmp_path, model, tokenizer):
    text = write_text(tmp_path / "text.txt")
    hashes = {
        training_data(text, tokenizer, model.config, short(sequence_length=length)).tokens_sha256
        for length in (8, 10, 16)
    }
    assert len(hashes) == 3
