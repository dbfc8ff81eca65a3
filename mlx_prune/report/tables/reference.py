"""What every table of a report holds, as Markdown, from their schemas.

``python -m mlx_prune.report.tables.reference docs/tables.md`` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.meanings import MEANINGS
from mlx_prune.report.tables.table import Column, Row

_HEAD = """\
# Tables of a report

`mlxprune report` writes these as CSV and Markdown into `tables/`; `mlx_prune.open_study(folder)` gives them
as Arrow tables and data frames. Their columns and types are the same whatever a study holds, and a cell is
empty where there is nothing to say. A table that lacks its input (a dense model, perplexity, timed answers)
has no rows and no file. Shares are fractions of 1; intervals are 95 % ones unless the table says otherwise.

This page is made from the tables' schemas: `python -m mlx_prune.report.tables.reference docs/tables.md`.

## Columns of several tables
"""


def row_types() -> list[type[Row]]:
    """The kinds of rows, in the order of a report."""
    hints: dict[str, Any] = get_type_hints(Tables)
    return [get_args(hint)[0] for hint in hints.values()]


def reference() -> str:
    """The page."""
    tables = {row_type: row_type.schema().columns for row_type in row_types()}
    shared = {column.name: column for columns in tables.values() for column in columns if _is_shared(column)}
    lines = [_HEAD, *_listed(shared[name] for name in MEANINGS)]
    for row_type, columns in tables.items():
        names = ", ".join(f"`{column.name}`" for column in columns if _is_shared(column))
        own = [column for column in columns if not _is_shared(column)]
        lines += [f"## {row_type.about.name}", "", f"**{row_type.about.title}.** {row_type.about.note}", ""]
        lines += [f"As above: {names}.", ""] if names else []
        lines += _listed(own) if own else []
    return "\n".join(lines)


def _is_shared(column: Column) -> bool:
    return MEANINGS.get(column.name) == column.meaning


def _listed(columns: Iterable[Column]) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in columns:
        yield f"| `{column.name}` | {column.kind.__name__} | {column.meaning} |"
    yield ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
