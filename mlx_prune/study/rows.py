"""The models and checkpoints that a study names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_prune.errors import DataError
from mlx_prune.labels import require_free_name
from mlx_prune.paths import short_name


@dataclass(frozen=True)
class StudyModel:
    """A dense model.

    Attributes:
        path: A folder, a Hub id, or "demo".
        name: In records and reports; None takes the last part of the path.

    Raises:
        RecipeError: The name cannot be one.
    """

    path: str
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            require_free_name(self.name)

    @property
    def label(self) -> str:
        """What it is called in records."""
        return self.name or short_name(self.path, Path(self.path))


@dataclass(frozen=True)
class StudyCheckpoint:
    """A checkpoint that is there already, pruned or quantized by any tool.

    Attributes:
        name: In records and reports.
        path: A folder or a Hub id.
        model: Name of the dense model that it is compared with; None where a study has one only.

    Raises:
        RecipeError: The name cannot be one, or is a method label.
    """

    name: str
    path: str
    model: str | None = None

    def __post_init__(self) -> None:
        require_free_name(self.name)


def require_distinct(models: Sequence[StudyModel], checkpoints: Sequence[StudyCheckpoint]) -> None:
    """Refuse rows that would share a folder, and checkpoints without a dense model.

    Raises:
        DataError: As said.
    """
    if not models:
        raise DataError("a study needs at least one model.")
    if len({model.path for model in models}) != len(models):
        raise DataError("a model is named twice; name each once.")
    labels = [model.label for model in models]
    for row in checkpoints:
        if row.model is None and len(models) > 1:
            raise DataError(
                f"the checkpoint {row.name!r} does not say which model it is compared with; give model = "
                f"one of {', '.join(labels)}."
            )
        if row.model is not None and row.model not in labels:
            raise DataError(
                f"the checkpoint {row.name!r} is compared with {row.model!r}, which is no model of this "
                f"study; it has {', '.join(labels)}."
            )
    # Folders of one name are one folder where letters of both cases are the same.
    names = [(row.model or labels[0], row.name.casefold()) for row in checkpoints]
    twice = next(
        (row.name for row, name in zip(checkpoints, names, strict=True) if names.count(name) > 1), None
    )
    if twice is not None:
        raise DataError(f"two checkpoints are called {twice!r}; give each a name of its own.")
