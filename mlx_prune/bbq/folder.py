"""Items from files: BBQ's own JSONL files, or JSONL and Parquet files in the columns of Elfsong/BBQ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mlx_prune.bbq.fields import Row
from mlx_prune.bbq.item import Item
from mlx_prune.bbq.rows import INTERSECTIONAL, is_elfsong, item_from_bbq, item_from_elfsong
from mlx_prune.bbq.translation import Translator
from mlx_prune.bbq.wording import Wording
from mlx_prune.errors import DataError, one_line
from mlx_prune.text import json_lines

BBQ_CATEGORIES = (
    "Age",
    "Disability_status",
    "Gender_identity",
    "Nationality",
    "Physical_appearance",
    "Race_ethnicity",
    "Race_x_SES",
    "Race_x_gender",
    "Religion",
    "SES",
    "Sexual_orientation",
)
STUDY_CATEGORIES = ("Age", "Gender_identity", "Race_ethnicity", "Religion", "SES")
_CANONICAL = {category.lower(): category for category in BBQ_CATEGORIES}
_SUFFIXES = {".jsonl", ".parquet"}
_SHARD = re.compile(r"-\d+-of-\d+$")


def canonical_category(name: str) -> str:
    """BBQ's own spelling of a category ("gender_identity" -> "Gender_identity"); other names stay."""
    return _CANONICAL.get(name.lower(), name)


def category_files(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder, or the file that is given, by category.

    A category is the name of its files up to the first dot, or to "-00000-of-00001".

    Raises:
        DataError: If the folder is missing or holds no JSONL or Parquet files.
    """
    if not folder.is_dir() and not folder.is_file():
        raise DataError(
            f"There is no folder {folder}; give a folder of BBQ JSONL files, or 'demo', or 'hub'."
        )
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
        if path.suffix in _SUFFIXES and path.is_file():
            files.setdefault(canonical_category(_SHARD.sub("", path.name.split(".")[0])), []).append(path)
    if not files:
        raise DataError(f"{folder} holds no .jsonl or .parquet files; give a folder of BBQ JSONL files.")
    return files


def read_category(category: str, paths: Sequence[Path], wording: Wording | None = None) -> list[Item]:
    """Read all items of one category.

    Args:
        category: Its name.
        paths: Its files.
        wording: What tells BBQ's fields in their rows; None where they are BBQ's own.

    Raises:
        DataError: Naming file, line and field of the first row that cannot be read or occurs twice.
    """
    items: list[Item] = []
    seen: dict[str, str] = {}
    translate = Translator(wording) if wording is not None and wording.translates else None
    for path in paths:
        for where, row in rows_of(path):
            item = item_of(row if translate is None else translate(row, where), category, where)
            if item.item_id in seen:
                raise DataError(
                    f"{where}: item {item.item_id!r} was already read from {seen[item.item_id]}; remove one."
                )
            seen[item.item_id] = where
            items.append(item)
    if not items:
        raise DataError(f"{', '.join(map(str, paths))} holds no items; leave it out.")
    return items


def item_of(row: Row, category: str, where: str) -> Item:
    """The item of a row in BBQ's fields or Elfsong's.

    Raises:
        DataError: A field is wrong, or the stereotyped option of the category cannot be derived.
    """
    if is_elfsong(row):
        return item_from_elfsong(row, category, where)
    if category in INTERSECTIONAL:
        raise DataError(
            f"{where}: the stereotyped option of {category} cannot be derived from BBQ's own files; "
            "leave the category out, or use 'hub'."
        )
    return item_from_bbq(row, category, where)


def rows_of(path: Path, wrong: Callable[[DataError], None] | None = None) -> Iterator[tuple[str, Row]]:
    """The rows of a JSONL or Parquet file with their places.

    Args:
        path: The file.
        wrong: Told of a line that is no JSON object, in place of raising the error.

    Raises:
        DataError: It cannot be read, or a line is no JSON object.
    """
    return _parquet_rows(path) if path.suffix == ".parquet" else json_lines(path, wrong=wrong)


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({one_line(error)}); get it again.") from None
    for number, row in enumerate(rows, start=1):
        yield f"{path}, row {number}", row
