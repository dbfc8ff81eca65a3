"""A study's folder: where its parts lie, and the only reader of what it says. Needs no MLX.

``study.toml``, ``runs/<model>/<configuration>/``, ``checkpoints/``, and what was measured beside the answers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_prune.configuration import Configuration
from mlx_prune.errors import MlxPruneError, RecordsError
from mlx_prune.latency.family import LatencyRow
from mlx_prune.runs.folder import RunFolder
from mlx_prune.study.config import StudyConfig, config_from_dict
from mlx_prune.study.results import (
    DivergenceRow,
    PerplexityRow,
    ResultsFile,
    SizeRow,
    divergences,
    latencies,
    perplexities,
    sizes,
)

STUDY_FILE = "study.toml"
RUNS_FOLDER = "runs"


class StudyFolder:
    """A study's folder.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def around(cls, run: Path) -> StudyFolder | None:
        """The study that a run folder is part of, or None where it stands alone."""
        resolved = run.resolve()
        return cls(resolved.parents[2]) if resolved.parent.parent.name == RUNS_FOLDER else None

    @property
    def exists(self) -> bool:
        """Whether there are runs."""
        return (self.path / RUNS_FOLDER).is_dir()

    @property
    def file(self) -> Path:
        """Its ``study.toml``."""
        return self.path / STUDY_FILE

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """What ``study.toml`` says; nothing where there is none.

        Raises:
            RecordsError: It cannot be read.
        """
        if not self.file.is_file():
            return {}
        try:
            return tomllib.loads(self.file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, OSError) as error:
            raise RecordsError(
                f"{self.file} is damaged ({error}); restore it, or choose another folder."
            ) from error

    @property
    def name(self) -> str:
        """The study's name: from ``study.toml``, or the folder's own."""
        return str(self.settings.get("name", self.path.resolve().name))

    @property
    def perplexity_text(self) -> str:
        """What perplexity was measured on, as the study names it; empty where that is not said."""
        found = self.settings.get("perplexity")
        return str(found.get("text", "")) if isinstance(found, dict) else ""

    @property
    def config(self) -> StudyConfig | None:
        """The study that was asked for; None where the file does not say it in full, as one that ran does."""
        try:
            return config_from_dict(dict(self.settings)) if "grid" in self.settings else None
        except MlxPruneError:
            return None

    def runs(self) -> list[RunFolder]:
        """Its run folders, sorted by name; one that was begun may have no ``run.json`` yet."""
        return [RunFolder(path) for path in sorted(self.path.glob(f"{RUNS_FOLDER}/*/*")) if path.is_dir()]

    def run(self, name: Configuration) -> RunFolder:
        """The folder of one configuration's answers, which need not exist."""
        return RunFolder(self.path / RUNS_FOLDER / name.model / name.folder)

    def checkpoint(self, name: Configuration) -> Path:
        """Where the model of a configuration lies, if the study saves checkpoints."""
        return self.path / "checkpoints" / f"{name.model}-{name.folder}"

    @property
    def work(self) -> Path:
        """For checkpoints that nobody asked to keep."""
        return self.path / ".work"

    @property
    def perplexities(self) -> ResultsFile[PerplexityRow]:
        """``perplexity.json``, as it is now.

        Raises:
            RecordsError: It is damaged.
        """
        return perplexities(self.path)

    @property
    def divergences(self) -> ResultsFile[DivergenceRow]:
        """``divergence.json``, as it is now.

        Raises:
            RecordsError: It is damaged.
        """
        return divergences(self.path)

    @property
    def latencies(self) -> ResultsFile[LatencyRow]:
        """``latency.json``, as it is now.

        Raises:
            RecordsError: It is damaged.
        """
        return latencies(self.path)

    @property
    def sizes(self) -> ResultsFile[SizeRow]:
        """``sizes.json``, as it is now.

        Raises:
            RecordsError: It is damaged.
        """
        return sizes(self.path)
