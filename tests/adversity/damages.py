"""What the tables of bad inputs share: a case, damages of a file, and the words of short commands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def json_damages() -> Iterator[tuple[str, Callable[[Path], None]]]:
    for name, data in FILE_DAMAGES.items():
        yield name, lambda file, data=data: replace(file, data)
    yield "folder", folder_instead
    yield "fifo", fifo_instead


def replace(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def folder_instead(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir(parents=True)


def fifo_instead(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def change(file: Path, **changes: Any) -> None:
    data = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in (data | changes).items() if v != "ABSENT"}))


def copy_of_model(good: Path, place: Path, name: str = "model") -> Path:
    return Path(shutil.copytree(good / name, place / name))


def copy_of_study(good: Path, place: Path) -> Path:
    return Path(shutil.copytree(good / "study", place / "study"))


def questions(place: Path) -> Words:
    """Options of a short evaluation."""
    return ["-o", str(place / "out"), "--bbq", "demo", "--limit", "5", "--seeds", "1"]


def eval_words(model: Path, place: Path) -> Words:
    return ["eval", str(model), *questions(place)]


def prune_words(model: Path, place: Path) -> Words:
    return ["prune", str(model), "-o", str(place / "out"), "-m", "magnitude", "-s", "50"]


def wanda_words(model: Path, place: Path) -> Words:
    data = ["--calibration", "demo", "--samples", "2", "--sequence-length", "32"]
    return ["prune", str(model), "-o", str(place / "out"), "-m", "wanda", "-s", "50", *data]


def inspect_words(model: Path, place: Path) -> Words:
    return ["inspect", str(model)]


def bench_words(model: Path, place: Path) -> Words:
    few = ["--items", "1", "--rounds", "1", "--cooldown", "0", "--no-sizes"]
    return ["bench", str(model), str(model), "-o", str(place / "out"), *few]


def publish_words(model: Path, place: Path) -> Words:
    return ["publish", str(model), "me/some-model", "--dry-run"]
