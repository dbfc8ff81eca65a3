"""Questions in other words: a TOML file with the words of their prompts and the columns of their fields.

It lies beside the questions as ``questions.toml``, or is named. What it leaves out is as in BBQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mlx_prune.bbq.words import PUBLISHED, PromptWords
from mlx_prune.errors import DataError
from mlx_prune.labels import nearest
from mlx_prune.paths import expanded
from mlx_prune.toml_files import read_toml

WORDING_FILE = "questions.toml"

FIELDS = (
    "example_id",
    "question_index",
    "question_polarity",
    "context_condition",
    "category",
    "context",
    "question",
    "ans0",
    "ans1",
    "ans2",
    "answer_info",
    "stereotyped_groups",
    "label",
    "target_label",
)
VALUES = ("ambig", "disambig", "neg", "nonneg", "unknown")
_SECTIONS: dict[str, Any] = {"prompt": PromptWords, "columns": dict[str, str], "values": dict[str, list[str]]}


@dataclass(frozen=True)
class Wording:
    """How questions are written, and how their prompts are.

    Attributes:
        prompt: The prompt's words.
        columns: BBQ's field -> the column that holds it; dots step into objects, numbers into lists.
        values: "ambig", "disambig", "neg", "nonneg" -> the words that say so; "unknown" -> texts or groups of
            the option that tells nothing.
    """

    prompt: PromptWords = PUBLISHED
    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def translates(self) -> bool:
        """Whether rows are other than BBQ's."""
        return bool(self.columns or self.values)


def read_wording(path: str | Path) -> Wording:
    """Read such a file.

    Raises:
        DataError: It is missing or not TOML, or a section, key or value is none that there is.
    """
    path = expanded(path)
    data = read_toml(path, "file of prompt words")
    for section, entries in data.items():
        _require_known(section, _SECTIONS, f"{path}: unknown section")
        if not isinstance(entries, dict):
            raise DataError(f"{path}: {section} is a section, not a value.")
        known = {"prompt": PromptWords.__dataclass_fields__, "columns": FIELDS, "values": VALUES}[section]
        for key in entries:
            _require_known(key, known, f"{path}: unknown key in [{section}]")
    try:
        parts = {name: msgspec.convert(entries, _SECTIONS[name]) for name, entries in data.items()}
    except msgspec.ValidationError as error:
        raise DataError(f"{path} holds a value of another kind ({error}); correct it.") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Wording(**parts)


def wording_of(source: str | Path, named: str | Path | None = None) -> Wording:
    """The wording of a source of questions: what was named, or lies beside them, or BBQ's.

    Args:
        source: "demo", "hub", or a folder or file of questions.
        named: The file that was named, if any.

    Raises:
        DataError: The file cannot be read.
    """
    if named is not None:
        return read_wording(named)
    if source in ("demo", "hub"):
        return Wording()
    folder = expanded(source)
    file = (folder if folder.is_dir() else folder.parent) / WORDING_FILE
    return read_wording(file) if file.is_file() else Wording()


def _require_known(key: str, known: Any, said: str) -> None:
    if key not in known:
        raise DataError(f"{said} {key!r}{nearest(key, known)}")
