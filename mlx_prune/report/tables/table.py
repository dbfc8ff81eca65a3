"""A table of a report: named columns, rows of plain values, and its CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune.outside_names import csv_cell, markdown, plain

if TYPE_CHECKING:
    import pyarrow as pa

Value = str | int | float | bool | None
Row = Mapping[str, Value]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: File name without its ending.
        title: For a heading.
        note: What the columns mean, in a sentence or two.
        columns: Names, in order.
        rows: Values by column; None where there is none (a rate of no answers, a test that cannot be made).
    """

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def column(self, name: str) -> list[Value]:
        """Values of one column, in row order."""
        return [row[name] for row in self.rows]

    def where(self, **values: Value) -> Table:
        """The rows that have these values."""
        kept = tuple(row for row in self.rows if all(row[key] == value for key, value in values.items()))
        return Table(self.name, self.title, self.note, self.columns, kept)

    def to_arrow(self) -> pa.Table:
        """As an Arrow table; ``.to_pandas()`` makes a data frame of it."""
        import pyarrow as pa

        return pa.table({name: pa.array(self.column(name)) for name in self.columns})

    def to_csv(self) -> str:
        """As CSV with a header, numbers in full precision, nothing for None."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(row[name]) for name in self.columns] for row in self.rows)
        return out.getvalue()

    def to_markdown(self, columns: Sequence[str] | None = None) -> str:
        """As a Markdown table, numbers rounded for reading; rates of too few answers are struck out.

        Args:
            columns: Only these; None takes all.
        """
        names = list(columns or self.columns)
        numeric = [all(_is_number(value) for value in self.column(name)) for name in names]
        lines = ["| " + " | ".join(names) + " |"]
        lines.append("|" + "|".join("---:" if right else "---" for right in numeric) + "|")
        for row in self.rows:
            cells = (_markdown(row[name], struck(row, name)) for name in names)
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def make_table(name: str, title: str, note: str, rows: Iterable[Row], columns: Sequence[str] = ()) -> Table:
    """Build a table; NaN becomes None.

    Args:
        name: File name without its ending.
        title: For a heading.
        note: What the columns mean.
        rows: All with the same keys.
        columns: Names, for a table that may have no rows; otherwise the rows' keys.
    """
    clean = tuple({key: _plain(value) for key, value in row.items()} for row in rows)
    return Table(name, title, note, tuple(clean[0]) if clean else tuple(columns), clean)


# How the columns of rates begin, and how those end that are the dense model's own.
_RATES = (
    *("srs", "usr", "anti_rate", "bias_score", "accuracy", "observed", "pct_became", "became_biased"),
    *("flipped", "response_entropy"),
)
_OF_DENSE = ("_base", "_baseline", "_dense")


def struck(row: Row, column: str) -> bool:
    """Whether a cell is a rate of so few answers that it says nothing about the model."""
    if not row.get("too_few_answered") or not isinstance(row[column], float):
        return False
    return column.startswith(_RATES) and not column.endswith(_OF_DENSE)


def show(value: Value) -> str:
    """A value for reading: four significant digits, thousands separated, "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or 1e-4 <= abs(value) < 1e6:
            return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
        return f"{value:.2e}"
    return plain(value)


def _markdown(value: Value, is_struck: bool) -> str:
    text = markdown(value) if isinstance(value, str) else show(value)
    return f"~~{text}~~" if is_struck else text


def _cell(value: Value) -> Value:
    return csv_cell(value) if isinstance(value, str) else value


def _plain(value: Value) -> Value:
    return None if isinstance(value, float) and math.isnan(value) else value


def _is_number(value: Value) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
