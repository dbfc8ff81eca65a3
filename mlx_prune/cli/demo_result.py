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
from mlx_prune.store import write_json

if TYPE_CHECKING:
    from mlx_prune.report.words.finding import Finding
    from mlx_prune.study.config import StudyConfig

FILE = "demo.json"
_PACKAGE = Path(__file__).parents[1]


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
            from mlx_prune.report.words.finding import Finding

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
    """A hash of what a result rests on.

    That is what is asked, and by size and time every file of the folder and of this package: in a clone, one
    version's changes from day to day.
    """
    from mlx_prune.study.config import config_to_dict

    found, package = _files(folder), _files(_PACKAGE)
    content = [__version__, package, config_to_dict(config), min_answered, found]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the files in a folder, but for hidden ones, kept results and compiled code."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.name == FILE or path.name.startswith(".") or path.suffix == ".pyc" or not path.is_file():
            continue
        about = path.stat()
        files.append((str(path.relative_to(folder)), about.st_size, about.st_mtime_ns))
    return files


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
