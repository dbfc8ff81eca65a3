"""JSON: whatever is wrong with a file from outside is one sentence, and whatever is written is strict."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mlx_prune.errors import MlxPruneError

T = TypeVar("T")

# How msgspec says where a value stands: `$.rows[3].name`.
_PLACE = re.compile(r"`\$([^`]*)`")
_STEP = re.compile(r"[^.\[\]]+")
_LACKING = re.compile(r"missing required field `([^`]*)`")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is not JSON, not UTF-8, nested deeper than can be read, or holds a number of thousands
            of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_object(
    file: Path, error: type[MlxPruneError], advice: str, newest: int | None = None
) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        file: The file, UTF-8 with or without a byte order mark.
        error: What to raise.
        advice: The end of the sentence, after a semicolon: what to do about a damaged file.
        newest: The highest ``format`` that this version reads, for files that give one.

    Raises:
        MlxPruneError: Of the kind ``error``: the file cannot be read, holds something else, or is of a newer
            version.
    """
    try:
        # A FIFO or a device would be waited for.
        if not file.is_file():
            raise error(f"{file} is not a file; {advice}.")
        data = parse_json(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as cause:
        raise error(f"{file} is not UTF-8 text; {advice}.") from cause
    except ValueError as cause:
        raise error(f"{file} is not valid JSON ({cause}); {advice}.") from cause
    except OSError as cause:
        raise error(f"{file} cannot be read ({cause.strerror or cause}); {advice}.") from cause
    if not isinstance(data, dict):
        raise error(f"{file} is not a JSON object; {advice}.")
    number = data.get("format")
    if newest is not None and isinstance(number, int) and number > newest:
        raise error(
            f"{file} is of format {number}, which is newer than this version of mlx-prune reads ({newest}); "
            "update mlx-prune."
        )
    return data


def fingerprint(content: dict[str, Any]) -> str:
    """A hash of what some result follows from, whatever the order of its keys; in hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def typed(
    content: Any,
    kind: type[T],
    where: str,
    error: type[MlxPruneError],
    advice: str,
    dec_hook: Callable[[type, Any], Any] | None = None,
) -> T:
    """Parsed JSON as a value of a type (msgspec), so that entries of another kind are told in one way.

    Args:
        content: What was read.
        kind: A Struct, a dataclass or another type that msgspec converts to.
        where: The file, or the row in it, for the sentence.
        error: What to raise.
        advice: The end of the sentence.
        dec_hook: What makes values of types that msgspec does not know, such as arrays.

    Raises:
        MlxPruneError: Of the kind ``error``: an entry is absent, or of another kind.
    """
    try:
        return msgspec.convert(content, kind, dec_hook=dec_hook)
    except msgspec.ValidationError as cause:
        if isinstance(cause.__cause__, ValueError):  # a check of the type's own
            raise error(f"{where} is damaged ({cause.__cause__}); {advice}.") from cause
        lacking = _LACKING.search(str(cause))
        if lacking is not None:
            raise error(f"{where} lacks {lacking[1]}; {advice}.") from cause
        name, value = _entry(content, str(cause))
        said = f"gives {name} as {value!r:.40}" if name else f"holds {value!r:.40}"
        raise error(f"{where} {said}; {advice}.") from cause


def _entry(content: Any, cause: str) -> tuple[str, Any]:
    """Name and value of the entry that a message of msgspec is about."""
    place = _PLACE.search(cause)
    # Keys of a dict it writes "[...]": the entry that holds them is told.
    names = [] if place is None else _STEP.findall(place[1].partition("[...]")[0])
    for name in names:
        content = content[int(name)] if isinstance(content, list) else content.get(name)
    return ".".join(names), content


def to_jsonable(value: Any) -> Any:
    """Make a value strict JSON: dataclasses to objects, paths to strings, non-finite numbers to null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return to_jsonable(value.item())
    if hasattr(value, "tolist"):
        return to_jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
