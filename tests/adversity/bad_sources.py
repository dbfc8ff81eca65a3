"""Broken questions, texts and files of a study's settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bbq_rows import bbq_row
from damages import (
    Case,
    Words,
    fifo_instead,
    folder_instead,
    wanda_words,
)

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
            words = wanda_words(good / "model", place)
            words[words.index("demo")] = str(place / file)
            return words

        yield Case(f"text {name} perplexity", perplexity)
        yield Case(f"text {name} calibration", calibration)
    for kind, apply in (("folder", folder_instead), ("fifo", fifo_instead)):

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
    for kind, apply in (("folder", folder_instead), ("fifo", fifo_instead)):

        def other(good: Path, place: Path, apply=apply) -> Words:  # type: ignore[no-untyped-def]
            apply(place / "study.toml")
            return ["study", str(place / "study.toml"), "-o", str(place / "out")]

        yield Case(f"toml {kind}", other)
