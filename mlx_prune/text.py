"""Text from a file or the package, and its tokens; the one reader of text and of JSON lines."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlx_prune.errors import DataError
from mlx_prune.json_files import parse_json
from mlx_prune.paths import expanded

_JSON = (".jsonl", ".ndjson", ".json")
_PROSE = (".txt", ".md", ".rst")
_GZIP = b"\x1f\x8b"


def read_rows(path: str | Path) -> str | Iterator[tuple[str, dict[str, Any]]]:
    """The text of a UTF-8 file, or the objects of one of JSON lines, each with its place.

    JSON lines are known by the file's name (.jsonl, .ndjson; .json, which may also hold one list), or, unless
    it is called .txt, .md or .rst, by a first line that is a JSON object.

    Raises:
        DataError: There is no such file, it is not UTF-8, or (while rows are read) a line is no object.
    """
    path = expanded(path)
    if not path.is_file():
        raise DataError(f"There is no text file {path}; give a text or JSONL file, or the name of a source.")
    text = _whole(path)
    if path.suffix not in _JSON and (
        path.suffix in _PROSE or not _is_object(text.lstrip().partition("\n")[0])
    ):
        return text
    listed = _list(text) if path.suffix == ".json" else None
    return json_lines(path, text) if listed is None else _listed(path, listed)


def json_lines(
    path: Path, text: str | None = None, wrong: Callable[[DataError], None] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, UTF-8 with or without a byte order mark, each with its place.

    A line ends where JSON lines end, not at every character that Unicode calls a line's end.

    Args:
        path: The file.
        text: What it holds, if it was read already.
        wrong: Told of a line that is no JSON object, in place of raising the error.

    Raises:
        DataError: The file cannot be read, or a line is no JSON object.
    """
    for number, line in enumerate((_whole(path) if text is None else text).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = _object(line, where)
        except DataError as error:
            if wrong is None:
                raise
            wrong(error)
            continue
        yield where, row


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise DataError(
            f"{where}: not valid JSON ({error}); the file may be cut off, so get it again."
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: must be a JSON object.")
    return row


def _whole(path: Path) -> str:
    try:
        data = path.read_bytes()
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        if data.startswith(_GZIP):
            raise DataError(f"{path} is compressed; run `gunzip` on it first.") from None
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); convert it first.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check its name and permissions."
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(parse_json(line), dict)
    except ValueError:
        return False


def _list(text: str) -> list[Any] | None:
    """The list, or the one object, that a whole file is; None where it is JSON lines, or damaged."""
    try:
        found = parse_json(text)
    except ValueError:
        return None
    return found if isinstance(found, list) else [found]


def _listed(path: Path, rows: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(rows, start=1):
        where = f"{path}, entry {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: must be a JSON object.")
        yield where, row


def encode(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a whole text, without special tokens."""
    # verbose=False: the whole text is longer than the model takes, which is meant.
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    return ids


def is_text(text: str) -> bool:
    """Whether a string is valid Unicode: escapes in JSON can leave half of a surrogate pair in one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def leading_token(tokenizer: Any) -> list[int]:
    """The BOS token as a list of one where the tokenizer puts one before a text, else an empty list."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer.encode("a")[:1] == [bos] else []
