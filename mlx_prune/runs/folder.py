"""A run folder, read: ``run.json`` and the records of one configuration. Needs no MLX.

What is wrong with a file of a run is told here, for everyone who reads one; :mod:`.session` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.json_files import read_object, typed
from mlx_prune.runs.records import count_records, read_records

RUN_FILE = "run.json"
FORMAT = 1
COMPLETE = "complete"
CONDITIONS = ("items", "prompts", "temperature", "max_tokens", "seeds", "noise")
"""What two runs must have been asked alike for their answers to be compared."""

_ADVICE = "redo the run with --force"
_Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Asked(msgspec.Struct, frozen=True):
    """What the records of a run depend on, as far as it is read again.

    Attributes:
        model: With the next three, the columns of a :class:`Configuration`.
        prune_method: Method label.
        sparsity: Target in percent.
        pattern: N:M pattern.
        entries: All of it as it stands in the file.
    """

    model: str | None = None
    prune_method: str | None = None
    sparsity: _Percent | None = None
    pattern: str | None = None
    entries: dict[str, Any] = {}

    @property
    def name(self) -> Configuration | None:
        """Whose answers they are; None where that was left out."""
        if self.model is None or self.prune_method is None or self.sparsity is None:
            return None
        return Configuration(self.model, self.prune_method, self.sparsity, self.pattern)


class Totals(msgspec.Struct, frozen=True):
    """Counts of a complete run."""

    items: _Count | None = None
    records: _Count | None = None


class Session(msgspec.Struct, frozen=True):
    """One call that made records: when it ended (ISO 8601), with which libraries, on which machine."""

    finished: str | None = None
    versions: dict[str, Any] = {}
    device: dict[str, Any] = {}


class RunAbout(msgspec.Struct, frozen=True):
    """The content of a ``run.json``; an entry that it lacks is empty.

    Attributes:
        format: Of the file.
        status: "running", "complete", or "share" (of one of several processes with disks of their own).
        configuration: What the records depend on.
        totals: Counts, once it is complete.
        versions: Of the libraries.
        device: The machine.
        items_available: By category, the ambiguous items with a stereotyped option that the source holds.
        sessions: The calls that made the records.
        entries: All of it as it stands in the file.
    """

    format: int | None = None
    status: str | None = None
    configuration: Asked | None = None
    totals: Totals = Totals()
    versions: dict[str, Any] = {}
    device: dict[str, Any] = {}
    items_available: dict[str, int] = {}
    prompt: dict[str, Any] = {}
    letters: dict[str, Any] = {}
    sessions: list[Session] = []
    entries: dict[str, Any] = {}

    @property
    def asked(self) -> dict[str, Any]:
        """All that the records depend on, as it stands in the file; nothing where that was left out."""
        return {} if self.configuration is None else self.configuration.entries

    @classmethod
    def of(cls, content: Mapping[str, Any], file: Path) -> RunAbout:
        """From the object in a file.

        Raises:
            RecordsError: An entry is of another kind than runs write.
        """
        asked = content.get("configuration")
        whole: dict[str, Any] = {**content, "entries": dict(content)}
        if isinstance(asked, dict):
            whole["configuration"] = {**asked, "entries": asked}
        elif "configuration" in content:
            whole["configuration"] = asked if asked is not None else 0  # null is no configuration either
        return typed(whole, cls, str(file), RecordsError, _ADVICE)


class RunFolder:
    """A folder with the answers of one configuration.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def file(self) -> Path:
        """Its ``run.json``."""
        return self.path / RUN_FILE

    @property
    def exists(self) -> bool:
        """Whether it is a run's folder; what is wrong with its ``run.json`` is told where that is read."""
        return self.file.exists()

    @cached_property
    def about(self) -> RunAbout:
        """What ``run.json`` says; nothing where there is none.

        Raises:
            RecordsError: It is damaged, or of a newer version.
        """
        if not self.exists:
            return RunAbout()
        return RunAbout.of(read_object(self.file, RecordsError, _ADVICE, FORMAT), self.file)

    def resumed(self) -> RunAbout:
        """What ``run.json`` says, where the run is to be carried on.

        Raises:
            RecordsError: There is none, it is damaged or of another version, or it tells no configuration.
        """
        if not self.exists:
            raise RecordsError(f"{self.path} holds no {RUN_FILE}; it is not a run folder.")
        if self.about.format != FORMAT:
            raise RecordsError(f"{self.file} is of another version's format; choose another folder.")
        return self._configured()

    def finished(self) -> RunAbout:
        """What ``run.json`` says of a run that is complete.

        Raises:
            RecordsError: There is none, it is damaged, tells no configuration, or the run is not finished.
        """
        if not self.exists:
            raise RecordsError(f"{self.path} holds no {RUN_FILE}; give a folder that `mlxprune eval` wrote.")
        if self.about.status not in (None, COMPLETE):
            raise RecordsError(
                f"the run {self.path} is not finished; run the same command again to complete it."
            )
        return self._configured()

    def _configured(self) -> RunAbout:
        if self.about.configuration is None:
            raise RecordsError(f"{self.file} tells no configuration; {_ADVICE}.")
        return self.about

    @property
    def configuration(self) -> Configuration:
        """Whose answers these are: from ``run.json``, or else from the names of the folders.

        Raises:
            RecordsError: The file is damaged.
        """
        asked = self.about.configuration
        if asked is not None and asked.name is not None:
            return asked.name
        return Configuration.of_folder(self.path.parent.name, self.path.name)

    def records(self, columns: Sequence[str] | None = None, *, encoded: bool = False) -> pa.Table:
        """Its records; see :func:`~mlx_prune.runs.records.read_records`."""
        return read_records(self.path, columns, encoded=encoded)

    def count(self) -> int:
        """How many records it holds, without reading them.

        Raises:
            RecordsError: A file is damaged.
        """
        return count_records(self.path)

    @property
    def pruned(self) -> PruningRecord | None:
        """How its model was pruned, where a study recorded it.

        Raises:
            CheckpointError: That record is damaged.
        """
        return PruningRecord.find(self.path)

    @property
    def differences(self) -> tuple[str, ...]:
        """Of a checkpoint that a study was given: what makes it hard to compare, as sentences.

        Raises:
            CheckpointError: Its record is damaged.
        """
        record = self.pruned
        return () if record is None or record.checkpoint is None else tuple(record.checkpoint.warnings)
