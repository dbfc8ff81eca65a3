"""Where prompts are masked, the losses are of replies alone, in training and on what is held out."""

from __future__ import annotations

import json
import random

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.tuner.datasets import ChatDataset
from recovering import dense_and_pruned, log_softmax, recovered_copy, short, write_text
from tiny_models import save_tiny_model

from mlx_prune.chat.documents import documents
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import CheckpointError, DataError
from mlx_prune.recovery.data import training_data
from mlx_prune.recovery.losses import held_out_losses, training_loss
from mlx_prune.study.config import config_from_dict, config_to_dict

WORDS = ["teacher", "student", "old", "young", "woman", "man", "the", "was", "late", "who"]


def write_conversations(file, count=60):
    """Messages with and without a system message and an earlier exchange, and prompts with completions."""
    rng = random.Random(3)

    def said(most):
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))

    rows = []
    for number in range(count):
        pair = [{"role": "user", "content": said(12)}, {"role": "assistant", "content": said(6)}]
        before = [{"role": "system", "content": said(3)}] if number % 3 == 0 else []
        earlier = [{"role": "user", "content": said(4)}, {"role": "assistant", "content": said(4)}]
        rows.append({"messages": before + (earlier if number % 2 else []) + pair})
        rows.append({"prompt": said(9), "completion": said(5)})
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.fixture(scope="module")
def conversations(tmp_path_factory):
    return write_conversations(tmp_path_factory.mktemp("text") / "talk.jsonl")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return dense_and_pruned(tmp_path_factory.mktemp("models"))


def data_of(model, source, **settings):
    opened = Checkpoint(model)
    return training_data(source, opened.tokenizer().tokenizer, opened.config, short(**settings))


def test_replies_begin_where_mlx_lm_says(models, conversations):
    tokenizer = Checkpoint(models[0]).tokenizer().tokenizer
    rows = [json.loads(line) for line in conversations.read_text().splitlines()]
    talks = [row for row in rows if "messages" in row]
    theirs = ChatDataset(talks, tokenizer, mask_prompt=True)
    read = documents(conversations, tokenizer)
    ours = [document for document, row in zip(read, rows, strict=True) if "messages" in row]
    for talk, document in zip(talks, ours, strict=True):
        tokens, offset = theirs.process(talk)
        assert document.tokens == list(tokens)
        assert document.prompt_length == offset


def test_every_marked_token_is_of_a_reply_and_no_reply_is_lost(models, conversations):
    tokenizer = Checkpoint(models[0]).tokenizer().tokenizer
    data = data_of(models[0], conversations, sequence_length=16, mask_prompt=True)
    ids = np.concatenate([data.train, data.held_out]).reshape(-1)
    marks = np.concatenate([data.train_marks, data.held_out_marks])
    assert marks[:, 1:].any(axis=1).all()
    whole = [document.tokens[document.prompt_length :] for document in documents(conversations, tokenizer)]
    expected = [token for reply in whole for token in reply]
    found = ids[marks.reshape(-1)].tolist()
    # What was cut off at the end of the text, and stretches whose only reply token stands first.
    assert 0.95 * len(expected) < len(found) <= len(expected)
    remaining = iter(expected)
    assert all(token in remaining for token in found)
    assert data.describe()["completion_tokens"] == data.train_marks[:, 1:].sum()


def test_losses_of_replies_are_those_of_plain_formulas(models, conversations):
    data = data_of(models[0], conversations, mask_prompt=True)
    tokens, marks = data.held_out, data.held_out_marks
    networks = [Checkpoint(folder).network("float32") for folder in models]
    teacher, student = (
        log_softmax(np.array(network(mx.array(tokens[:, :-1])), np.float64)) for network in networks
    )
    chosen = marks[:, 1:]
    divergence = (np.exp(teacher) * (teacher - student)).sum(axis=-1)[chosen].mean()
    text = -np.take_along_axis(student, tokens[:, 1:, None], -1)[..., 0][chosen].mean()
    found = held_out_losses(networks[1], tokens, 2, networks[0], marks)
    assert found.distill == pytest.approx(divergence, rel=1e-4)
    assert found.text == pytest.approx(text, rel=1e-5)
    # A mask that did nothing would be found out.
    assert abs(found.text / held_out_losses(networks[1], tokens, 2).text - 1) > 1e-3
    batch, known = mx.array(tokens), networks[0](mx.array(tokens[:, :-1]))
    assert training_loss(networks[1], batch, known, mx.array(marks)).item() == pytest.approx(
        divergence, rel=1e-4
    )
    assert training_loss(networks[1], batch, None, mx.array(marks)).item() == pytest.approx(text, rel=1e-5)


@pytest.mark.parametrize("loss", ["distill", "text"])
def test_replies_are_learned_recorded_and_another_recovery_than_all_tokens(
    models, conversations, tmp_path, loss
):
    record = recovered_copy(
        models[1], tmp_path / "out", conversations, steps=20, rank=8, mask_prompt=True, loss=loss
    )
    found = record.recovery
    name = "divergence" if loss == "distill" else "loss"
    assert found.held_out["recovered"][name] < found.held_out["pruned"][name]
    assert found.mask_prompt
    assert "of replies alone" in found.did
    assert "--mask-prompt" in found.command
    again = recovered_copy(
        models[1], tmp_path / "out", conversations, steps=20, rank=8, mask_prompt=True, loss=loss
    )
    assert again.recovery.fingerprint == found.fingerprint
    with pytest.raises(CheckpointError, match="holds something else"):
        recovered_copy(models[1], tmp_path / "out", conversations, steps=20, rank=8, loss=loss)


def test_what_has_no_prompt_or_no_reply_is_refused(models, tmp_path):
    for source in (write_text(tmp_path / "text.txt"), "demo", "c4"):
        with pytest.raises(DataError, match="plain text, which has no prompt to mask"):
            data_of(models[0], source, mask_prompt=True)
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"messages": [{"role": "user", "content": "who was late " * 90}]}))
    with pytest.raises(DataError, match="line 1: the conversation does not end with a reply"):
        data_of(models[0], asked, mask_prompt=True)
    asked.write_text(json.dumps({"prompt": "who was late " * 90, "completion": "late"}))
    with pytest.raises(DataError, match="fill too few sequences of 16"):
        data_of(models[0], asked, mask_prompt=True)


def test_a_template_that_opens_a_reply_otherwise_than_it_writes_one(tmp_path, conversations):
    template = (
        "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n<think></think>{% endif %}"
    )
    opened = Checkpoint(save_tiny_model(tmp_path / "m", "llama", chat_template=template))
    tokenizer = opened.tokenizer().tokenizer
    for document in documents(conversations, tokenizer):
        before = tokenizer.decode(document.tokens[: document.prompt_length])
        assert before.endswith("<|assistant|>\n")
        assert before.count("<|assistant|>") == document.text.count("<|assistant|>")


def test_a_study_takes_it_in_recover():
    study = {"models": ["demo"], "grid": {"methods": ["wanda+recover"]}, "recover": {"mask_prompt": True}}
    config = config_from_dict(study)
    assert config.recover.settings.mask_prompt
    assert config_to_dict(config)["recover"]["mask_prompt"] is True
