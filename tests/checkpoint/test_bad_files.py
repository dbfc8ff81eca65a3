"""Files and names from outside that are nothing like what they should be: one sentence each, at once."""

from __future__ import annotations

import json
import os
import struct

import pytest
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.open import Checkpoint, load
from mlx_prune.errors import MlxPruneError
from mlx_prune.text import read_rows

DEEP = "[" * 200_000
LONG = "9" * 5000


def write_header(folder, header):
    data = header.encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(data)) + data + bytes(8))


def entry(**changes):
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}})


HEADERS = {
    "nested deep": '{"a":' + DEEP,
    "a number of 5,000 digits": entry().replace("8]", LONG + "]"),
    "an offset beyond 64 bits": entry(data_offsets=[0, 10**30]),
    "an endless offset": entry().replace("8]", "Infinity]"),
    "an offset that is none": entry().replace("8]", "NaN]"),
    "a fraction of an offset": entry(data_offsets=[0, 8.5]),
    "an offset below zero": entry(data_offsets=[-8, 0]),
    "offsets the wrong way round": entry(dtype="F8_E8M0", data_offsets=[8, 0]),
    "offsets that are no list": entry(data_offsets=8),
    "a length beyond 64 bits": entry(shape=[10**30]),
    "lengths whose product wraps round to the right one": entry(shape=[2**62, 4, 1]),
    "a length below zero": entry(shape=[-2]),
    "a shape that is a text": entry(shape="xy"),
    "entries that are no objects": json.dumps({"a": 1}),
    "a list": "[]",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none(tmp_path, name):
    folder = save_tiny_model(tmp_path / "m", "llama")
    write_header(folder, HEADERS[name])
    refused(lambda: load(folder), "model.safetensors")


CONFIGS = {
    "nested deep": '{"model_type": ' + DEEP,
    "a number of 5,000 digits": '{"model_type": "llama", "hidden_size": ' + LONG + "}",
    "cut off": '{"model_type": "lla',
    "a text": '"llama"',
}
ENTRIES = {
    "a model_type that is a number": {"model_type": 5},
    "a model_type that is a list": {"model_type": ["llama"]},
    "a thousand million blocks": {"num_hidden_layers": 10**9},
    "endless blocks": {"num_hidden_layers": float("inf")},
    "blocks below zero": {"num_hidden_layers": -1},
    "blocks in words": {"num_hidden_layers": "three"},
    "a list of blocks": {"num_hidden_layers": [3]},
    "a width beyond 64 bits": {"hidden_size": 10**30},
    "no heads": {"num_attention_heads": 0},
    "heads that do not divide": {"num_attention_heads": 5, "num_key_value_heads": 3},
    "a vocabulary of a million millions": {"vocab_size": 10**12},
    "a scaling that is a text": {"rope_scaling": "linear"},
    "a scaling that is a number": {"rope_scaling": 2},
    "a scaling without a factor": {"rope_scaling": {"type": "linear"}},
    "a base that is a text": {"rope_parameters": {"rope_theta": "10000"}},
    "a base that is no number": {"rope_parameters": {"rope_theta": float("nan")}},
    "a base beside that is a text": {"rope_theta": "big"},
    "a base beside that is a list": {"rope_theta": [1, 2, 3]},
    "no base": {"rope_theta": None},
    "an order that is a text": {"rope_traditional": "yes"},
    "an endless share of a head": {"partial_rotary_factor": float("inf")},
    "an epsilon that is a text": {"rms_norm_eps": "small"},
    "a text_config that is a text": {"model_type": "qwen3_vl", "text_config": "qwen3"},
    "a quantization that is a text": {"quantization": "4 bits"},
    "a quantization_config that is a list": {"quantization_config": [4]},
    "blocks of a part without number": {
        "model_type": "qwen3_vl",
        "text_config": {"num_hidden_layers": 10**9},
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_that_is_none(tmp_path, name):
    folder = save_tiny_model(tmp_path / "m", "llama")
    (folder / "config.json").write_text(CONFIGS[name])
    refused(lambda: load(folder), "config.json")


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_of_another_kind(tmp_path, name):
    folder = save_tiny_model(tmp_path / "m", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **ENTRIES[name]}))
    refused(lambda: load(folder), str(folder))


INDEXES = [
    "[]",
    '{"weight_map": 5}',
    '{"weight_map": {"a": 5}}',
    '{"weight_map": {"a": ["b"]}}',
    '{"a":' + DEEP,
]


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: index[:30])
def test_an_index_that_is_none(tmp_path, index):
    folder = save_tiny_model(tmp_path / "m", "llama")
    (folder / "model.safetensors.index.json").write_text(index)
    refused(lambda: load(folder), "index.json is damaged")


@pytest.mark.parametrize("kind", ["pipe", "folder", "nowhere"])
def test_a_weight_file_that_is_no_file(tmp_path, kind):
    folder = save_tiny_model(tmp_path / "m", "llama")
    other = folder / "model-more.safetensors"
    if kind == "pipe":
        os.mkfifo(other)
    elif kind == "folder":
        other.mkdir()
    else:
        other.symlink_to(tmp_path / "absent")
    refused(lambda: load(folder), "neither a file nor a folder" if kind == "pipe" else "not a regular file")


def test_a_configuration_that_is_a_pipe(tmp_path):
    folder = save_tiny_model(tmp_path / "m", "llama")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    refused(lambda: load(folder), "config.json")


NAMES = [
    "owner/" + "m" * 97,
    "owner/a--b",
    "owner/model.git",
    "~nobody-of-that-name/model",
    "~nobody-of-that-name",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(lambda: Checkpoint.open(name), name)


def test_a_text_of_a_user_that_is_none():
    refused(lambda: read_rows("~nobody-of-that-name/text.txt"), "~nobody-of-that-name/text.txt")


def refused(attempt, said):
    with pytest.raises(MlxPruneError) as caught:
        attempt()
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) < 1000
    assert message.endswith(".")
