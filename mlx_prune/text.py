"""Text from a file or the package, and its tokens; shared by calibration and perplexity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_prune.errors import DataError
from mlx_prune.paths import expanded


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file, or the "text" fields of a JSONL file joined by blank lines.

    Raises:
        DataError: There is no such file, it is not UTF-8, or a line of JSONL is malformed.
    """
    path = expanded(path)
    if not path.is_file():
        raise DataError(f"There is no text file {path}; give a text or JSONL file, or the name of a source.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); convert it first.") from error
    return "\n\n".join(_documents(path, text)) if path.suffix == ".jsonl" else text


def _documents(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}.") from error
        if not isinstance(document, dict) or not isinstance(document.get("text"), str):
            raise DataError(f'{path}, line {number} has no string field "text".')
        yield document["text"]


def encode(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a whole text, without special tokens."""
    # verbose=False: the whole text is longer than the model takes, which is meant.
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    return ids


def leading_token(tokenizer: Any) -> list[int]:
    """The BOS token as a list of one where the tokenizer puts one before a text, else an empty list."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer.encode("a")[:1] == [bos] else []
