"""TOML files that people write: whatever is wrong with one is a sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mlx_prune.errors import DataError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table in a TOML file.

    Args:
        path: The file, UTF-8.
        what: What it is, for the sentence that it is not there: "study file".

    Raises:
        DataError: It is missing, or not TOML.
    """
    if not path.is_file():
        raise DataError(f"there is no {what} at {path}.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise DataError(f"{path} is not valid TOML: nested too deeply.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions.") from None
    except ValueError as error:  # not TOML, or a number of thousands of digits
        raise DataError(f"{path} is not valid TOML: {error}.") from None
