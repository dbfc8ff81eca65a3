"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """A path with its home folder filled in; as it is where there is no such user, as a shell would."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
