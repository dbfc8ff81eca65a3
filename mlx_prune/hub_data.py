"""Data sets of the Hugging Face Hub: how one is named, and its rows, one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.errors import DataError, one_line

PREFIX = "hub:"
FORM = "hub:ORG/NAME[@REVISION][:CONFIG][/SPLIT][#COLUMN]"

_NAME = r"[\w.-]+"
_PARTS = re.compile(
    rf"hub:(?P<path>{_NAME}(?:/{_NAME})?)(?:@(?P<revision>{_NAME}))?(?::(?P<config>{_NAME}))?"
    r"(?:/(?P<split>[\w.-]+))?(?:#(?P<columns>[^+#]+(?:\+[^+#]+)?))?"
)


@dataclass(frozen=True)
class HubData:
    """A part of a data set on the Hub.

    Attributes:
        path: Its id.
        revision: Branch, tag or commit; None is its main branch as it is today.
        config: Which of its configurations; None where it has one.
        split: Which of its splits.
        columns: What was named of its columns: none, one, or a prompt's and its answer's.
    """

    path: str
    revision: str | None = None
    config: str | None = None
    split: str = "train"
    columns: tuple[str, ...] = ()

    def rows(self, **more: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its rows with the place of each, read from the Hub as they are asked for.

        Args:
            more: Further arguments of ``datasets.load_dataset``.

        Raises:
            DataError: The Hub cannot be reached, or there is no such data set, configuration or split.
        """
        with quiet_datasets() as datasets:
            try:
                stream = datasets.load_dataset(
                    self.path, self.config, split=self.split, revision=self.revision, streaming=True, **more
                )
                for number, row in enumerate(stream, start=1):
                    yield f"{self.path} {self.split}, row {number}", row
            except Exception as error:  # datasets passes on errors of several network libraries
                raise DataError(
                    f"{self.path} cannot be read from the Hub ({one_line(error)}); "
                    "check its name and the connection, or give a file."
                ) from error


def is_hub(source: object) -> bool:
    """Whether a source of text names a data set of the Hub."""
    return isinstance(source, str) and source.startswith(PREFIX)


def parse_hub(source: str) -> HubData:
    """Read ``hub:ORG/NAME[@REVISION][:CONFIG][/SPLIT][#COLUMN]``; two columns are ``#PROMPT+ANSWER``.

    Raises:
        DataError: It is not of that form.
    """
    found = _PARTS.fullmatch(source)
    if found is None:
        raise DataError(f"{source!r} does not name a data set of the Hub; write {FORM}.")
    columns = tuple((found["columns"] or "").split("+")) if found["columns"] else ()
    return HubData(found["path"], found["revision"], found["config"], found["split"] or "train", columns)


def source_name(source: str) -> str:
    """A source of text in a few words: the id of a data set, or the name of a file without its folder."""
    return parse_hub(source).path if is_hub(source) else Path(source).name


@contextmanager
def quiet_datasets() -> Iterator[Any]:
    """The ``datasets`` library without its progress bars, which are as before afterwards."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        if shown:
            datasets.enable_progress_bars()
