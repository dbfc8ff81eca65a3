"""Broken model folders: their JSON files, values in them, weights and chat templates."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from damages import (
    Case,
    Words,
    bench_words,
    change,
    copy_of_model,
    eval_words,
    fifo_instead,
    folder_instead,
    inspect_words,
    json_damages,
    prune_words,
    publish_words,
    wanda_words,
)


def model_files() -> Iterator[Case]:
    """Every JSON file of a model folder, broken in every way, met by the commands that read it."""
    commands = {
        "config.json": (eval_words, inspect_words, prune_words, bench_words),
        "tokenizer.json": (eval_words, wanda_words),
        "tokenizer_config.json": (eval_words,),
        "generation_config.json": (eval_words,),
        "pruning_meta.json": (eval_words, inspect_words, bench_words, publish_words),
        "model.safetensors.index.json": (eval_words, prune_words),
        "chat_template.json": (eval_words,),
    }
    for file, users in commands.items():
        for damage, apply in json_damages():
            for user in users:

                def build(good: Path, place: Path, file=file, apply=apply, user=user) -> Words:  # type: ignore[no-untyped-def]
                    model = copy_of_model(good, place, "pruned" if file == "pruning_meta.json" else "model")
                    (model / file).unlink(missing_ok=True)
                    apply(model / file)
                    return list(user(model, place))

                # Some readers rightly do without: generation settings, an object with strange keys.
                codes = (0, 1, 2) if damage in ("digits", "deep") or "config" in file else (1, 2)
                if file in ("chat_template.json", "generation_config.json"):
                    codes = (0, 1, 2)
                # A folder of that name is no index of shards.
                if file.endswith("index.json") and damage == "folder":
                    codes = (0, 1, 2)
                yield Case(f"model {file} {damage} {user.__name__.removesuffix('_words')}", build, codes)


CONFIG_VALUES: dict[str, tuple[Any, ...]] = {
    "model_type": ("ABSENT", 3, None, "", "perceptron", "../../etc", ["llama"]),
    "num_hidden_layers": ("ABSENT", 0, -1, 10**9, 10**20, "3", 2.5, None, [3], 2),
    "hidden_size": (0, -42, 10**12, "42", None, 43),
    "num_attention_heads": (0, -3, "3", 7, None, 10**9),
    "num_key_value_heads": (0, -1, 2, "1", 10**9),
    "head_dim": (0, -14, 10**9, "x", 13),
    "intermediate_size": (0, -1, 10**12, [53]),
    "vocab_size": (0, -1, 10**12, "many", None, 7),
    "rms_norm_eps": ("small", None, [1]),
    "rope_theta": ("10000", [1], None),
    "rope_scaling": ("linear", {"type": "linear"}, {"type": 3, "factor": "x"}, [1], {"rope_type": "yarn"}),
    "tie_word_embeddings": ("no", None, [True]),
    "quantization": ("4-bit", {"bits": 4}, {"bits": "four", "group_size": 64}, [4]),
    "quantization_config": ({"quant_method": "gptq"}, "awq", 7),
    "eos_token_id": ("</s>", [[1]], -1, 10**20, {"id": 1}, [1, 2]),
    "max_position_embeddings": ("long", -5, 0, 10**20),
    "text_config": ("text", [1], {"model_type": "llama"}),
    "auto_map": ({"AutoConfig": "evil.Config"},),
    "model_file": ("model.py",),
}


def config_values() -> Iterator[Case]:
    """Values of another kind, and beyond their range, in a configuration."""
    for key, values in CONFIG_VALUES.items():
        for value in values:

            def build(good: Path, place: Path, key=key, value=value) -> Words:  # type: ignore[no-untyped-def]
                model = copy_of_model(good, place)
                change(model / "config.json", **{key: value})
                return eval_words(model, place)

            yield Case(f"config {key}={str(value)[:40]}", build, (0, 1, 2))


def _header(entries: Any, data: bytes = b"\0" * 64) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


_F32 = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
WEIGHTS: dict[str, bytes] = {
    "empty": b"",
    "seven bytes": b"1234567",
    "text": b"hello, these are no weights at all",
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "html": b"<!DOCTYPE html><html>not found</html>",
    "pickle": b"PK\x03\x04" + b"\0" * 200,
    "header length huge": struct.pack("<Q", 2**63 - 1) + b"{}",
    "header length beyond": struct.pack("<Q", 5000) + b"{}",
    "header no json": _header(b"{not json at all}"),
    "header list": _header([1, 2]),
    "header deep": _header(b'{"a":' * 60_000 + b"1" + b"}" * 60_000),
    "header digits": _header(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b"]}}"),
    "offsets infinite": _header(b'{"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, Infinity]}}'),
    "offsets nan": _header(b'{"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [NaN, 64]}}'),
    "offsets beyond 64 bits": _header({"a": _F32 | {"data_offsets": [0, 10**30]}}),
    "offsets negative": _header({"a": _F32 | {"data_offsets": [-64, 0]}}),
    "offsets swapped": _header({"a": _F32 | {"data_offsets": [64, 0]}}),
    "offsets one": _header({"a": _F32 | {"data_offsets": [0]}}),
    "shape huge": _header({"a": _F32 | {"shape": [2**40, 2**40]}}),
    "shape negative": _header({"a": _F32 | {"shape": [-4, -4]}}),
    "shape text": _header({"a": _F32 | {"shape": "4x4"}}),
    "dtype unknown": _header({"a": _F32 | {"dtype": "F31"}}),
    "dtype number": _header({"a": _F32 | {"dtype": 32}}),
    "no entries": _header({}),
    "other tensors": _header({"a": _F32}),
    "entry null": _header({"a": None}),
}


def weights() -> Iterator[Case]:
    """Safetensors that are none, or are damaged."""
    for name, data in WEIGHTS.items():
        for user in (eval_words, prune_words, inspect_words):

            def build(good: Path, place: Path, data=data, user=user) -> Words:  # type: ignore[no-untyped-def]
                model = copy_of_model(good, place)
                (model / "model.safetensors").write_bytes(data)
                return list(user(model, place))

            yield Case(f"weights {name} {user.__name__.removesuffix('_words')}", build)
    for share in (0.1, 0.5, 0.999):

        def cut(good: Path, place: Path, share=share) -> Words:  # type: ignore[no-untyped-def]
            model = copy_of_model(good, place)
            file = model / "model.safetensors"
            file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
            return wanda_words(model, place)

        yield Case(f"weights cut at {share}", cut)
    for kind, apply in (("fifo", fifo_instead), ("folder", folder_instead)):
        for user in (eval_words, prune_words, inspect_words, bench_words):

            def other(good: Path, place: Path, apply=apply, user=user) -> Words:  # type: ignore[no-untyped-def]
                model = copy_of_model(good, place)
                apply(model / "model.safetensors")
                return list(user(model, place))

            yield Case(f"weights {kind} {user.__name__.removesuffix('_words')}", other)


TEMPLATES: dict[str, Any] = {
    "number": 7,
    "list": [1],
    "empty": "",
    "broken": "{% for m in messages %}",
    "unknown filter": "{{ messages | frobnicate }}",
    "division": "{{ 1 / 0 }}",
    "raises": "{{ raise_exception('no system role') }}",
    "says nothing": "hello",
    "loops": "{% for i in range(10**9) %}{% for j in range(10**9) %}{% endfor %}{% endfor %}",
    "gigabytes": "{{ 'x' * 10**10 }}",
    "many pieces": "{% for i in range(10**8) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
    "reaches out": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "think": "{% for m in messages %}{{ m['content'] }}{% endfor %}<think>\n",
}


def templates() -> Iterator[Case]:
    """Chat templates: foreign code."""
    for name, template in TEMPLATES.items():

        def build(good: Path, place: Path, template=template) -> Words:  # type: ignore[no-untyped-def]
            model = copy_of_model(good, place)
            change(model / "tokenizer_config.json", chat_template=template)
            return eval_words(model, place)

        # What a template says is the model's business, as long as it says something of the question.
        yield Case(f"template {name}", build, (0, 1, 2) if name in ("empty", "list") else (1, 2))
