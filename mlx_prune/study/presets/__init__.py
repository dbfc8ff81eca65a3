"""Studies that come with the package, as TOML files beside this one."""

from __future__ import annotations

from pathlib import Path

from mlx_prune.errors import DataError
from mlx_prune.study.config import StudyConfig, read_config

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def preset(name: str) -> StudyConfig:
    """Read a preset.

    Raises:
        DataError: There is none of this name.
    """
    if name not in names():
        raise DataError(f"there is no preset {name!r}; choose one of {', '.join(names())}.")
    return read_config(_FOLDER / f"{name}.toml")
