"""JSON that comes from outside: whatever is wrong with it is one sentence, never a crash of the parser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlx_prune.errors import MlxPruneError


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


def read_object(file: Path, error: type[MlxPruneError], advice: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        file: The file, UTF-8 with or without a byte order mark.
        error: What to raise.
        advice: The end of the sentence, after a semicolon: what to do about a damaged file.

    Raises:
        MlxPruneError: Of the kind ``error``: the file cannot be read, or holds something else.
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
    return data
