"""Paths as people write them."""

from __future__ import annotations

import re
from pathlib import Path

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def expanded(path: str | Path) -> Path:
    """A path with its home folder filled in; as it is where there is no such user, as a shell would."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def short_name(name: str, path: Path) -> str:
    """The last part of a folder's path or of a Hub id, which names the model in its records."""
    return Path(name).name if Path(name).name not in ("", "..") else path.resolve().name


def looks_like_hub_id(name: str) -> bool:
    """Whether a name has the form org/name, which a folder's path may have, too."""
    return _HUB_ID.fullmatch(name) is not None
