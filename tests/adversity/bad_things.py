"""The table of bad inputs: what is broken, how, and the command that meets it.

Each case copies what it needs from a folder of good things (:mod:`good_things`), breaks one thing, and names
the words of a command. Cases are made from small tables of damages, so that a new kind is one line.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from bbq_rows import bbq_row

Words = list[str]
Build = Callable[[Path, Path], Words]


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        name: Unique.
        build: From the folder of good things and an empty folder, the words after ``mlxprune``.
        codes: Exit codes that are right; 0 only where nothing is wrong after all.
    """

    name: str
    build: Build
    codes: tuple[int, ...] = (1, 2)


# Bytes that no JSON object is, whoever reads them.
FILE_DAMAGES: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"model_type": "lla',
    "binary": bytes(range(256)) * 4,
    "utf16": '{"a": 1}'.encode("utf-16"),
    "list": b"[1, 2]",
    "string": b'"text"',
    "null": b"null",
    "deep": b'{"a":' * 60_000 + b"1" + b"}" * 60_000,
    "deep list": b"[" * 60_000 + b"]" * 60_000,
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
}


def _json_damages() -> Iterator[tuple[str, Callable[[Path], None]]]:
    for name, data in FILE_DAMAGES.items():
        yield name, lambda file, data=data: _replace(file, data)
    yield "folder", _folder_instead
    yield "fifo", _fifo_instead


def _replace(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _folder_instead(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir(parents=True)


def _fifo_instead(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def _change(file: Path, **changes: Any) -> None:
    data = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in (data | changes).items() if v != "ABSENT"}))


def _model(good: Path, place: Path, name: str = "model") -> Path:
    return Path(shutil.copytree(good / name, place / name))


def _study(good: Path, place: Path) -> Path:
    return Path(shutil.copytree(good / "study", place / "study"))


def questions(place: Path) -> Words:
    """Options of a short evaluation."""
    return ["-o", str(place / "out"), "--bbq", "demo", "--limit", "5", "--seeds", "1"]


def _eval(model: Path, place: Path) -> Words:
    return ["eval", str(model), *questions(place)]


def _prune(model: Path, place: Path) -> Words:
    return ["prune", str(model), "-o", str(place / "out"), "-m", "magnitude", "-s", "50"]


def _wanda(model: Path, place: Path) -> Words:
    data = ["--calibration", "demo", "--samples", "2", "--sequence-length", "32"]
    return ["prune", str(model), "-o", str(place / "out"), "-m", "wanda", "-s", "50", *data]


def _inspect(model: Path, place: Path) -> Words:
    return ["inspect", str(model)]


def _bench(model: Path, place: Path) -> Words:
    few = ["--items", "1", "--rounds", "1", "--cooldown", "0", "--no-sizes"]
    return ["bench", str(model), str(model), "-o", str(place / "out"), *few]


def _publish(model: Path, place: Path) -> Words:
    return ["publish", str(model), "me/some-model", "--dry-run"]


def model_files() -> Iterator[Case]:
    """Every JSON file of a model folder, broken in every way, met by the commands that read it."""
    commands = {
        "config.json": (_eval, _inspect, _prune, _bench),
        "tokenizer.json": (_eval, _wanda),
        "tokenizer_config.json": (_eval,),
        "generation_config.json": (_eval,),
        "pruning_meta.json": (_eval, _inspect, _bench, _publish),
        "model.safetensors.index.json": (_eval, _prune),
        "chat_template.json": (_eval,),
    }
    for file, users in commands.items():
        for damage, apply in _json_damages():
            for user in users:

                def build(good: Path, place: Path, file=file, apply=apply, user=user) -> Words:  # type: ignore[no-untyped-def]
                    model = _model(good, place, "pruned" if file == "pruning_meta.json" else "model")
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
                yield Case(f"model {file} {damage} {user.__name__[1:]}", build, codes)


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
                model = _model(good, place)
                _change(model / "config.json", **{key: value})
                return _eval(model, place)

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
        for user in (_eval, _prune, _inspect):

            def build(good: Path, place: Path, data=data, user=user) -> Words:  # type: ignore[no-untyped-def]
                model = _model(good, place)
                (model / "model.safetensors").write_bytes(data)
                return list(user(model, place))

            yield Case(f"weights {name} {user.__name__[1:]}", build)
    for share in (0.1, 0.5, 0.999):

        def cut(good: Path, place: Path, share=share) -> Words:  # type: ignore[no-untyped-def]
            model = _model(good, place)
            file = model / "model.safetensors"
            file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
            return _wanda(model, place)

        yield Case(f"weights cut at {share}", cut)
    for kind, apply in (("fifo", _fifo_instead), ("folder", _folder_instead)):
        for user in (_eval, _prune, _inspect, _bench):

            def other(good: Path, place: Path, apply=apply, user=user) -> Words:  # type: ignore[no-untyped-def]
                model = _model(good, place)
                apply(model / "model.safetensors")
                return list(user(model, place))

            yield Case(f"weights {kind} {user.__name__[1:]}", other)


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
            model = _model(good, place)
            _change(model / "tokenizer_config.json", chat_template=template)
            return _eval(model, place)

        # What a template says is the model's business, as long as it says something of the question.
        yield Case(f"template {name}", build, (0, 1, 2) if name in ("empty", "list") else (1, 2))


BBQ_LINES: dict[str, bytes | dict[str, Any]] = {
    "no json": b"{oops\n",
    "cut": b'{"example_id": 1, "question_in',
    "a list": b"[1]\n",
    "deep": b'{"example_id":' * 60_000 + b"1" + b"}" * 60_000 + b"\n",
    "deep list in a field": b'{"example_id": ' + b"[" * 60_000 + b"]" * 60_000 + b"}\n",
    "digits": b'{"example_id": ' + b"9" * 5000 + b"}\n",
    "not utf-8": b'{"context": "\xff\xfe"}\n',
    "example_id beyond 64 bits": {"example_id": 10**30},
    "example_id negative": {"example_id": -1},
    "example_id text": {"example_id": "first"},
    "question_index beyond 32 bits": {"question_index": str(2**40)},
    "question_index digits": {"question_index": "9" * 6000},
    "question_index float": {"question_index": 1.5},
    "label": {"label": 3},
    "label beyond 64 bits": {"label": 10**30},
    "polarity": {"question_polarity": "neutral"},
    "condition": {"context_condition": "vague"},
    "context number": {"context": 7},
    "context blank": {"context": "   "},
    "context lone surrogate": b'{"context": "\\ud800", "example_id": 0}\n',
    "answer_info list": {"answer_info": [1, 2, 3]},
    "answer_info no unknown": {"answer_info": {a: ["x", "old"] for a in ("ans0", "ans1", "ans2")}},
    "answer_info null": {"answer_info": None},
    "metadata text": {"additional_metadata": "none"},
    "groups empty": {"additional_metadata": {"stereotyped_groups": []}},
    "groups numbers": {"additional_metadata": {"stereotyped_groups": [1]}},
    "option absent": {"ans1": None},
    "question lone surrogate": {"question": "Who\ud83d?"},
    "option lone surrogate": {"ans0": "My \udfff aunt"},
    "context of 90,000 words": {"context": "word " * 90_000},
}


def bbq_lines() -> Iterator[Case]:
    """Lines of a BBQ file."""
    for name, line in BBQ_LINES.items():

        def build(good: Path, place: Path, line=line) -> Words:  # type: ignore[no-untyped-def]
            folder = place / "bbq"
            folder.mkdir()
            first = json.dumps(bbq_row(100)).encode() + b"\n"
            bad = line if isinstance(line, bytes) else json.dumps(bbq_row(**line)).encode() + b"\n"
            (folder / "Age.jsonl").write_bytes(first + bad)
            return [
                "eval",
                str(good / "model"),
                "-o",
                str(place / "out"),
                "--bbq",
                str(folder),
                "--seeds",
                "1",
            ]

        codes = (0, 1, 2) if "surrogate" in name and "context" not in name else (1, 2)
        yield Case(f"bbq {name}", build, codes)
    for name, data in {"empty": b"", "text": b"PAR1 this is not", "two lines": b"\n\n"}.items():
        for suffix in ("parquet", "jsonl"):

            def file(good: Path, place: Path, data=data, suffix=suffix) -> Words:  # type: ignore[no-untyped-def]
                folder = place / "bbq"
                folder.mkdir()
                (folder / f"Age.{suffix}").write_bytes(data)
                return ["eval", str(good / "model"), "-o", str(place / "out"), "--bbq", str(folder)]

            yield Case(f"bbq file {name} {suffix}", file)


TEXTS: dict[str, tuple[str, bytes]] = {
    "empty": ("a.txt", b""),
    "short": ("a.txt", b"One."),
    "binary": ("a.txt", bytes(range(256)) * 50),
    "utf16": ("a.txt", ("word " * 500).encode("utf-16")),
    "jsonl cut": ("a.jsonl", b'{"text": "one two'),
    "jsonl deep": ("a.jsonl", b'{"text":' * 60_000 + b"1" + b"}" * 60_000),
    "jsonl digits": ("a.jsonl", b'{"text": ' + b"9" * 5000 + b"}"),
    "jsonl number": ("a.jsonl", b'{"text": 7}'),
    "jsonl other": ("a.jsonl", b'{"story": "once"}'),
    "jsonl list": ("a.jsonl", b"[1]"),
    "jsonl empty": ("a.jsonl", b"\n\n"),
    "jsonl surrogate": ("a.jsonl", b'{"text": "' + b"a \\\\ud800 b " * 3 + b'"}'),
}


def texts() -> Iterator[Case]:
    """Texts for calibration and perplexity."""
    for name, (file, data) in TEXTS.items():

        def perplexity(good: Path, place: Path, file=file, data=data) -> Words:  # type: ignore[no-untyped-def]
            (place / file).write_bytes(data)
            size = ["--sequences", "4", "--sequence-length", "64"]
            return ["perplexity", str(good / "model"), "--text", str(place / file), *size]

        def calibration(good: Path, place: Path, file=file, data=data) -> Words:  # type: ignore[no-untyped-def]
            (place / file).write_bytes(data)
            words = _wanda(good / "model", place)
            words[words.index("demo")] = str(place / file)
            return words

        yield Case(f"text {name} perplexity", perplexity)
        yield Case(f"text {name} calibration", calibration)
    for kind, apply in (("folder", _folder_instead), ("fifo", _fifo_instead)):

        def other(good: Path, place: Path, apply=apply) -> Words:  # type: ignore[no-untyped-def]
            apply(place / "a.txt")
            return ["perplexity", str(good / "model"), "--text", str(place / "a.txt")]

        yield Case(f"text {kind}", other)


TOMLS: dict[str, bytes] = {
    "empty": b"",
    "not toml": b"models = [",
    "utf16": 'models = ["demo"]'.encode("utf-16"),
    "latin": b'models = ["d\xe9mo"]',
    "deep": b"a = " + b"[" * 60_000 + b"]" * 60_000,
    "digits": b"models = ['demo']\n[grid]\nseed = " + b"9" * 5000,
    "no models": b'name = "x"',
    "models empty": b"models = []",
    "models text": b'models = "demo"',
    "models numbers": b"models = [1]",
    "models twice": b'models = ["demo", "demo"]',
    "model absent": b'models = ["./nowhere-at-all"]',
    "model home": b'models = ["~nobody-here/model"]',
    "model long": b'models = ["me/' + b"x" * 97 + b'"]',
    "unknown key": b'models = ["demo"]\ncolour = "red"',
    "unknown method": b'models = ["demo"]\n[grid]\nmethods = ["wandah"]',
    "method twice": b'models = ["demo"]\n[grid]\nmethods = ["wanda", "wanda"]',
    "sparsity fraction": b'models = ["demo"]\n[grid]\nsparsities = [0.5]',
    "sparsity 100": b'models = ["demo"]\n[grid]\nsparsities = [100]',
    "sparsity nan": b'models = ["demo"]\n[grid]\nsparsities = [nan]',
    "sparsity inf": b'models = ["demo"]\n[grid]\nsparsities = [inf]',
    "sparsity twice": b'models = ["demo"]\n[grid]\nsparsities = [50, 50.0]',
    "sparsities alike": b'models = ["demo"]\n[grid]\nsparsities = [33.3333, 33.33333]',
    "pattern": b'models = ["demo"]\n[grid]\npatterns = ["4:2"]',
    "pattern twice": b'models = ["demo"]\n[grid]\npatterns = ["2:4", "2:4"]',
    "scope": b'models = ["demo"]\n[grid]\nscope = "all"',
    "statistics": b'models = ["demo"]\n[grid]\nstatistics = "some"',
    "grid seed": b'models = ["demo"]\n[grid]\nseed = -1',
    "grid is a list": b'models = ["demo"]\ngrid = [1]',
    "seeds empty": b'models = ["demo"]\n[generation]\nseeds = []',
    "seeds twice": b'models = ["demo"]\n[generation]\nseeds = [1, 1]',
    "seeds huge": b'models = ["demo"]\n[generation]\nseeds = [100000000000000000000]',
    "seeds negative": b'models = ["demo"]\n[generation]\nseeds = [-1]',
    "temperature": b'models = ["demo"]\n[generation]\ntemperature = -1.0',
    "temperature nan": b'models = ["demo"]\n[generation]\ntemperature = nan',
    "max_tokens 0": b'models = ["demo"]\n[generation]\nmax_tokens = 0',
    "max_tokens huge": b'models = ["demo"]\n[generation]\nmax_tokens = 1000000000',
    "noise": b'models = ["demo"]\n[generation]\nnoise = "white"',
    "engine": b'models = ["demo"]\n[generation]\nengine = "steam"',
    "batch_size": b'models = ["demo"]\n[generation]\nbatch_size = 0',
    "dtype": b'models = ["demo"]\n[generation]\ndtype = "int3"',
    "category": b'models = ["demo"]\n[bbq]\ncategories = ["Weather"]',
    "condition": b'models = ["demo"]\n[bbq]\ncondition = "clear"',
    "limit 0": b'models = ["demo"]\n[bbq]\nlimit = 0',
    "bbq absent": b'models = ["demo"]\n[bbq]\nsource = "./nowhere"',
    "text absent": b'models = ["demo"]\n[bbq]\nlimit=2\n[perplexity]\ntext = "./nowhere.txt"',
    "sequences": b'models = ["demo"]\n[perplexity]\nsequences = 0',
    "sequence_length": b'models = ["demo"]\n[perplexity]\nsequence_length = 1',
    "latency items": b'models = ["demo"]\n[latency]\nitems = 0',
    "latency rounds": b'models = ["demo"]\n[latency]\nrounds = -1',
    "samples": b'models = ["demo"]\n[calibration]\nsamples = 0',
    "calibration source": b'models = ["demo"]\n[calibration]\nsource = "./nowhere.txt"',
}


def tomls() -> Iterator[Case]:
    """Study files."""
    for name, data in TOMLS.items():

        def build(good: Path, place: Path, data=data) -> Words:  # type: ignore[no-untyped-def]
            (place / "study.toml").write_bytes(data)
            return ["study", str(place / "study.toml"), "-o", str(place / "out")]

        yield Case(f"toml {name}", build)
    for kind, apply in (("folder", _folder_instead), ("fifo", _fifo_instead)):

        def other(good: Path, place: Path, apply=apply) -> Words:  # type: ignore[no-untyped-def]
            apply(place / "study.toml")
            return ["study", str(place / "study.toml"), "-o", str(place / "out")]

        yield Case(f"toml {kind}", other)


NUMBERS = ("-1", "0", "1.5", "nan", "inf", "-inf", "1e300", "1000000000", "100000000000000000000", "ten", "")
NUMERIC_OPTIONS: dict[str, tuple[str, ...]] = {
    "eval": ("--limit", "--temperature", "--max-tokens", "--batch-size", "--verify", "--seeds"),
    "prune": ("-s", "--samples", "--sequence-length", "--seed"),
    "bench": ("--rounds", "--items", "--cooldown", "--generate", "--margin", "--seed", "--prompt"),
    "perplexity": ("--sequences", "--sequence-length", "--batch-size"),
    "gate": ("--max-srs-rise", "--max-usr-drop", "--max-perplexity-rise", "--limit"),
}
# Values that are in range where they stand, and whose run would only be long, are not asked for.
_FINE = {
    ("--limit", "1000000000"),
    ("--limit", "100000000000000000000"),
    ("--verify", "0"),
    ("--verify", "1000000000"),
    ("--verify", "100000000000000000000"),
    ("--temperature", "0"),
    ("--temperature", "1.5"),
    ("--seeds", "0"),
    ("--seeds", "1000000000"),
    ("--seed", "0"),
    ("--seed", "1000000000"),
    ("-s", "1.5"),
    ("--cooldown", "0"),
    ("--cooldown", "1.5"),
    ("--margin", "1.5"),
    ("--batch-size", "1000000000"),
    ("--batch-size", "100000000000000000000"),
    ("--seed", "100000000000000000000"),
    ("--rounds", "1000000000"),
    ("--max-srs-rise", "0"),
    ("--max-srs-rise", "1.5"),
    ("--max-usr-drop", "0"),
    ("--max-usr-drop", "1.5"),
    ("--max-perplexity-rise", "0"),
    ("--max-perplexity-rise", "1.5"),
    ("--max-perplexity-rise", "1000000000"),
    ("--max-perplexity-rise", "100000000000000000000"),
    ("--max-perplexity-rise", "1e300"),
    ("--max-srs-rise", "1000000000"),
    ("--max-srs-rise", "100000000000000000000"),
    ("--max-srs-rise", "1e300"),
    ("--max-usr-drop", "1000000000"),
    ("--max-usr-drop", "100000000000000000000"),
    ("--max-usr-drop", "1e300"),
    ("--samples", "1000000000"),
    ("--sequences", "1000000000"),
    # Hot enough to flatten anything, and finite.
    ("--temperature", "1e300"),
    ("--temperature", "1000000000"),
    ("--temperature", "100000000000000000000"),
}


def numbers() -> Iterator[Case]:
    """Numbers out of range on the command line."""
    for command, options in NUMERIC_OPTIONS.items():
        for option in options:
            for value in NUMBERS:
                if (option, value) in _FINE:
                    continue

                def build(good: Path, place: Path, command=command, option=option, value=value) -> Words:  # type: ignore[no-untyped-def]
                    model = good / "model"
                    words = {
                        "eval": _eval(model, place),
                        "prune": _wanda(model, place),
                        "bench": _bench(model, place),
                        "perplexity": ["perplexity", str(model), "--text", "demo"],
                        "gate": ["gate", str(good / "study")],
                    }[command]
                    # Of an option given twice the last one counts.
                    return [*words, f"--{option.lstrip('-')}" if len(option) > 2 else option, value]

                yield Case(f"number {command} {option} {value or 'nothing'}", build)


RESULT_FILES = ("perplexity.json", "latency.json", "sizes.json")
BAD_ROWS: dict[str, Any] = {
    "no results": {},
    "results an object": {"results": {}},
    "rows of text": {"results": ["row"]},
    "rows without names": {"results": [{}]},
    "figures of text": {"results": [{"model": "m", "prune_method": "wanda", "sparsity": "half"}]},
}


def study_files() -> Iterator[Case]:
    """Files of a study folder, broken, met by the commands that read them."""
    users: dict[str, Callable[[Path, Path], Words]] = {
        "report": lambda study, place: ["report", str(study)],
        "gate": lambda study, place: ["gate", str(study)],
        "study": lambda study, place: ["study", str(study / "study.toml"), "-o", str(study)],
    }
    for file in RESULT_FILES:
        damages = list(_json_damages())
        damages += [
            (name, lambda path, rows=rows: _replace(path, json.dumps(rows).encode()))
            for name, rows in BAD_ROWS.items()
        ]
        for damage, apply in damages:
            for user, words in users.items():
                if user == "gate" and file != "perplexity.json":
                    continue

                def build(good: Path, place: Path, file=file, apply=apply, words=words) -> Words:  # type: ignore[no-untyped-def]
                    study = _study(good, place)
                    (study / file).unlink(missing_ok=True)
                    apply(study / file)
                    return list(words(study, place))

                yield Case(f"study {file} {damage} {user}", build)
    for file in ("run.json", "pruning_meta.json"):
        for damage, apply in _json_damages():
            for user, words in users.items():

                def run(good: Path, place: Path, file=file, apply=apply, words=words) -> Words:  # type: ignore[no-untyped-def]
                    study = _study(good, place)
                    target = next(study.glob(f"runs/*/magnitude*/{file}"))
                    target.unlink()
                    apply(target)
                    return list(words(study, place))

                # What a pruning recorded of itself is written anew, or not looked at, by some commands.
                yield Case(f"run {file} {damage} {user}", run, (0, 1, 2) if "meta" in file else (1, 2))


def _part(run: Path) -> Path:
    return next((run / "records").glob("*.parquet"))


def _rewrite(run: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    part = _part(run)
    table = pq.read_table(part)
    part.unlink()
    pq.write_table(change(table), part)


RECORDS: dict[str, Callable[[Path], None]] = {
    "empty": lambda run: _part(run).write_bytes(b"") and None,
    "cut": lambda run: _part(run).write_bytes(_part(run).read_bytes()[:500]) and None,
    "text": lambda run: _part(run).write_bytes(b"PAR1 no PAR1") and None,
    "fifo": lambda run: _fifo_instead(_part(run)),
    "folder": lambda run: _folder_instead(_part(run)),
    "columns absent": lambda run: _rewrite(run, lambda table: table.drop_columns(["seed"])),
    "other types": lambda run: _rewrite(
        run, lambda table: table.set_column(table.column_names.index("seed"), "seed", table["item_id"])
    ),
    "rows twice": lambda run: _rewrite(run, lambda table: pa.concat_tables([table, table])),
    "impossible index": lambda run: _rewrite(
        run,
        lambda table: table.set_column(
            table.column_names.index("unknown_index"),
            "unknown_index",
            pa.array([9] * table.num_rows, pa.int32()),
        ),
    ),
    "no rows": lambda run: _rewrite(run, lambda table: table.slice(0, 0)),
}


def records() -> Iterator[Case]:
    """Records that are damaged, met by the commands that read them."""
    for name, apply in RECORDS.items():
        for user in ("report", "gate", "records", "eval"):

            def build(good: Path, place: Path, apply=apply, user=user) -> Words:  # type: ignore[no-untyped-def]
                study = _study(good, place)
                run = next(study.glob("runs/*/magnitude*"))
                if user == "eval":
                    shutil.copytree(good / "run", place / "out")
                    run = place / "out"
                apply(run)
                return {
                    "report": ["report", str(study)],
                    "gate": ["gate", str(study)],
                    "records": ["records", str(run), "--jsonl", str(place / "out.jsonl")],
                    "eval": _eval(good / "model", place),
                }[user]

            # Without rows, or for an export that needs other columns only, a run is just unfinished.
            codes = (0, 1, 2) if name in ("no rows", "impossible index", "rows twice") else (1, 2)
            yield Case(f"records {name} {user}", build, codes)


PLACES = {
    "absent": "nowhere",
    "blank": "",
    "home of nobody": "~nobody-here/x",
    "nul byte": "a\0b",
    "long": "x" * 300,
    "hub id long": f"me/{'x' * 97}",
    "hub id odd": "me/..model--x",
    "three parts": "a/b/c",
    "url": "https://example.org/model",
    "newline": "a\nb",
    "brackets": "[bold]x[/oops]",
    "root": "/",
    "device": "/dev/null",
    "a file": "FILE",
}


def places() -> Iterator[Case]:
    """Names in place of a model, a run, a study or a file."""
    for name, given in PLACES.items():
        for command in (
            "eval",
            "prune",
            "inspect",
            "perplexity",
            "report",
            "gate",
            "records",
            "publish",
            "bench",
        ):

            def build(good: Path, place: Path, given=given, command=command) -> Words:  # type: ignore[no-untyped-def]
                file = place / "file.txt"
                file.write_text("text")
                what = Path(str(file)) if given == "FILE" else given
                model = str(good / "model")
                return {
                    "eval": ["eval", str(what), *questions(place)],
                    "prune": ["prune", str(what), "-o", str(place / "out"), "-m", "random", "-s", "50"],
                    "inspect": ["inspect", str(what)],
                    "perplexity": ["perplexity", model, "--text", str(what)],
                    "report": ["report", str(what)],
                    "gate": ["gate", str(what)],
                    "records": ["records", str(what), "--jsonl", str(place / "out.jsonl")],
                    "publish": ["publish", str(what), "me/some", "--dry-run"],
                    "bench": ["bench", model, str(what), "-o", str(place / "out")],
                }[command]

            codes = (0, 1, 2) if (name, command) == ("a file", "perplexity") else (1, 2)
            yield Case(f"place {name} {command}", build, codes)
        for command in ("eval", "prune", "bench", "records"):
            if name in ("absent", "blank", "newline", "brackets", "long", "three parts"):
                continue

            def out(good: Path, place: Path, given=given, command=command) -> Words:  # type: ignore[no-untyped-def]
                file = place / "file.txt"
                file.write_text("text")
                what = f"{place}/{given}" if given[:1] not in "~/" else given
                what = str(file) if given == "FILE" else what
                model = str(good / "model")
                few = ["--items", "1", "--rounds", "1", "--cooldown", "0", "--no-sizes"]
                return {
                    "eval": ["eval", model, "-o", what, "--bbq", "demo", "--limit", "2", "--seeds", "1"],
                    "prune": ["prune", model, "-o", what, "-m", "random", "-s", "50"],
                    "bench": ["bench", model, model, "-o", what, *few],
                    "records": ["records", str(good / "run"), "--jsonl", what],
                }[command]

            # Whoever runs the tests as root could write into the root folder.
            if name in ("nul byte", "device", "a file"):
                yield Case(f"output {name} {command}", out)


def cases() -> list[Case]:
    """The whole table."""
    groups = (
        model_files,
        config_values,
        weights,
        templates,
        bbq_lines,
        texts,
        tomls,
        numbers,
        study_files,
        records,
        places,
    )
    return [case for group in groups for case in group()]
