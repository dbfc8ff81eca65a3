"""What ``mlxprune demo`` shows at its end, kept in its folder so that a finished demo is shown at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune import words
from mlx_prune._version import __version__
from mlx_prune.cli.tables.study import SummaryRow
from mlx_prune.errors import RecordsError
from mlx_prune.report.words.finding import Finding
from mlx_prune.store import write_json

if TYPE_CHECKING:
    from mlx_prune.study.config import StudyConfig

FILE = "demo.json"


@dataclass(frozen=True)
class DemoResult:
    """What is shown at the end.

    Attributes:
        rows: Of the table.
        finding: As in the report.
        page: Name of the report's page in the folder.
        others: Other versions of this package that answers were drawn with, for people; mostly empty.
    """

    rows: list[SummaryRow]
    finding: Finding
    page: str
    others: str = ""

    @classmethod
    def read(cls, folder: Path, state: str) -> DemoResult | None:
        """What was shown of this very state of the folder; None if nothing was."""
        try:
            found = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if found["state"] != state:
                return None
            texts = {**found["finding"], **{name: tuple(found["finding"][name]) for name in _LISTS}}
            rows = [SummaryRow(**row) for row in found["rows"]]
            return cls(rows, Finding(**texts), found["page"], found["others"])
        # It is a copy: whatever is wrong with it, it is made again.
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path, state: str) -> None:
        """Keep it for this state of the folder."""
        content: dict[str, Any] = {"state": state, **dataclasses.asdict(self)}
        write_json(folder / FILE, content)


_LISTS = ("sentences", "meaning")


def state_of(folder: Path, config: StudyConfig, min_answered: float) -> str:
    """A hash of what a result rests on: this version, what is asked, and every file by size and time."""
    from mlx_prune.study.config import config_to_dict

    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != FILE and not path.name.startswith("."):
            found = path.stat()
            files.append((str(path.relative_to(folder)), found.st_size, found.st_mtime_ns))
    content = [__version__, config_to_dict(config), min_answered, files]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def refuse_another_demo(folder: Path, config: StudyConfig) -> None:
    """Refuse the folder of a demo that asked otherwise.

    Raises:
        RecordsError: It holds one.
    """
    from mlx_prune.study.folder import StudyFolder
    from mlx_prune.study.runner import differences

    study = StudyFolder(folder)
    if study.settings.get("name") != config.name:
        return
    if differing := differences(study.settings, config):
        raise RecordsError(
            f"{folder} holds the demo of another version of this package ({', '.join(differing)}); name "
            "another folder with -o, or delete this one."
        )


def other_versions(folder: Path) -> str:
    """Other versions of this package that answers in the folder come from, as a list."""
    from mlx_prune.study.about import read_about

    found = read_about(folder).versions.get("mlx-prune", __version__).split(" / ")
    return words.names([f"mlx-prune {version}" for version in found if version != __version__])
