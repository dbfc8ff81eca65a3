"""A table of a report: columns declared once, typed rows, and their Arrow, CSV, Markdown and JSON.

A row is a dataclass below :class:`Row`, whose fields are the columns: one for a plain field, four for a
:class:`~mlx_prune.configuration.Configuration`, three for an :class:`Interval`. So the columns and their
types are the same whatever a study holds, and figures, sentences and the page read attributes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_type_hints

from mlx_prune import words
from mlx_prune.configuration import COLUMNS, Configuration
from mlx_prune.outside_names import csv_cell, markdown, plain
from mlx_prune.report.tables.meanings import MEANINGS, RATES

if TYPE_CHECKING:
    import pyarrow as pa

    from mlx_prune.stats.compare import Change

Value = str | int | float | bool | None
R = TypeVar("R", bound="Row")


@dataclass(frozen=True)
class About:
    """A table's name (that of its files, without ending), its heading, and a note to read with it."""

    name: str
    title: str
    note: str


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: As in files.
        kind: str, int, float or bool; a cell of any kind may be empty.
        meaning: What it holds, in what unit.
        path: Where its value is in a row.
    """

    name: str
    kind: type
    meaning: str
    path: str

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.kind in (int, float)


class Schema:
    """The columns of a table, and how its rows are read.

    Attributes:
        columns: In order.
        names: Theirs.
        paths: Where a column's value is in a row.
        rates: The columns that say nothing where too few answers were understood.
        read: From a row to its values.
        cleaners: What makes a field's value a plain one.
    """

    def __init__(self, row_type: type[Row]) -> None:
        self.columns = tuple(_columns(row_type))
        self.names = tuple(column.name for column in self.columns)
        self.paths = {column.name: column.path for column in self.columns}
        self.rates = frozenset(column.name for column in self.columns if column.kind is float) & RATES
        self.read: Callable[[Row], tuple[Value, ...]] = attrgetter(*(column.path for column in self.columns))
        self.cleaners = [
            (column.path, _CLEAN[column.kind])
            for column in self.columns
            if column.kind in _CLEAN and "." not in column.path
        ]


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its interval; None for what cannot be had."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """NaN is no figure."""
        for name in ("value", "low", "high"):
            object.__setattr__(self, name, _float(getattr(self, name)))

    @classmethod
    def of(cls, change: Change) -> Interval:
        """Of a comparison with dense."""
        return cls(change.value, change.low, change.high)

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends; None unless they are known and finite."""
        low, high = finite(self.low), finite(self.high)
        return None if low is None or high is None else (low, high)


def column(meaning: str = "", *, names: Sequence[str] = (), default: Any = MISSING) -> Any:
    """A field of a row.

    Args:
        meaning: What it holds; empty takes that of :data:`~mlx_prune.report.tables.meanings.MEANINGS`.
        names: Of the three columns of an :class:`Interval`, where they are not the field's own.
        default: Where there is one.
    """
    return field(default=default, metadata={"meaning": meaning, "names": tuple(names)})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table; numbers may be NumPy's, and NaN becomes None."""

    about: ClassVar[About]

    def __post_init__(self) -> None:
        for name, clean in self.schema().cleaners:
            object.__setattr__(self, name, clean(getattr(self, name)))

    @classmethod
    def schema(cls) -> Schema:
        """The columns."""
        if cls not in _SCHEMAS:
            _SCHEMAS[cls] = Schema(cls)
        return _SCHEMAS[cls]

    def cells(self) -> tuple[Value, ...]:
        """The values, in the order of the columns."""
        return self.schema().read(self)

    def record(self) -> dict[str, Value]:
        """The values by column name."""
        return dict(zip(self.schema().names, self.cells(), strict=True))

    def __getitem__(self, name: str) -> Any:
        """The value of one column, by its name in files."""
        return attrgetter(self.schema().paths[name])(self)


@dataclass(frozen=True)
class Table(Generic[R]):
    """A table: the type of its rows, and its rows."""

    row_type: type[R]
    rows: tuple[R, ...]

    @classmethod
    def of(cls, row_type: type[R], rows: Iterable[R]) -> Table[R]:
        """A table of these rows."""
        return cls(row_type, tuple(rows))

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.row_type.about.name

    @property
    def title(self) -> str:
        """For a heading."""
        return self.row_type.about.title

    @property
    def note(self) -> str:
        """What to know when reading it."""
        return self.row_type.about.note

    @property
    def schema(self) -> Schema:
        """The columns, the same whatever the rows."""
        return self.row_type.schema()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, in order."""
        return self.schema.names

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def cells(self) -> tuple[tuple[Value, ...], ...]:
        """The values of every row, in the order of the columns; None where there is none."""
        return tuple(row.cells() for row in self.rows)

    def column(self, name: str) -> list[Value]:
        """Values of one column, in row order."""
        read = attrgetter(self.schema.paths[name])
        return [read(row) for row in self.rows]

    def where(self, **values: Value) -> Table[R]:
        """The rows that have these values in these columns."""
        wanted = [(attrgetter(self.schema.paths[name]), value) for name, value in values.items()]
        return Table.of(
            self.row_type, (row for row in self.rows if all(read(row) == value for read, value in wanted))
        )

    def records(self) -> list[dict[str, Value]]:
        """As JSON takes it: one object per row, by column name."""
        return [row.record() for row in self.rows]

    def to_arrow(self) -> pa.Table:
        """As an Arrow table; ``.to_pandas()`` makes a data frame of it."""
        import pyarrow as pa

        kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        schema = pa.schema([(column.name, kinds[column.kind]) for column in self.schema.columns])
        columns = zip(*self.cells, strict=True) if self.rows else ([] for _ in schema)
        return pa.table(
            [pa.array(list(values), kind) for values, kind in zip(columns, schema.types, strict=True)],
            schema=schema,
        )

    def to_csv(self) -> str:
        """As CSV with a header, numbers in full precision, nothing for None."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(
            [csv_cell(value) if isinstance(value, str) else value for value in cells] for cells in self.cells
        )
        return out.getvalue()

    def to_markdown(self) -> str:
        """As a Markdown table, numbers rounded for reading; rates of too few answers are struck out."""
        columns = self.schema.columns
        lines = [
            "| " + " | ".join(self.columns) + " |",
            "|" + "|".join("---:" if column.is_number else "---" for column in columns) + "|",
        ]
        for row, cells in zip(self.rows, self.cells, strict=True):
            shown = [
                _markdown(value, struck(row, column.name))
                for column, value in zip(columns, cells, strict=True)
            ]
            lines.append(f"| {' | '.join(shown)} |")
        return "\n".join(lines) + "\n"


def struck(row: Row, name: str) -> bool:
    """Whether the cell of a column is a rate of so few answers that it says nothing about the model."""
    few = bool(getattr(row, "too_few_answered", False))
    return few and name in row.schema().rates and row[name] is not None


def finite(value: float | None) -> float | None:
    """A figure, or None where it is not known or infinite."""
    return value if value is not None and math.isfinite(value) else None


def show(value: Value) -> str:
    """A value for reading: four significant digits, thousands separated, "-" for None."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(value) if isinstance(value, str) else words.number(value)


def _markdown(value: Value, is_struck: bool) -> str:
    text = markdown(value) if isinstance(value, str) else show(value)
    return f"~~{text}~~" if is_struck else text


_SCHEMAS: dict[type, Schema] = {}
_ENDS = ("{}", "lower end of its interval", "upper end of its interval")


def _columns(row_type: type[Row]) -> Iterator[Column]:
    kinds = get_type_hints(row_type)
    for entry in fields(row_type):
        kind = kinds[entry.name]
        meaning = entry.metadata.get("meaning") or MEANINGS.get(entry.name, "")
        if kind is Configuration:
            hints = get_type_hints(Configuration)
            for name in COLUMNS:
                yield Column(name, _kind(hints[name]), MEANINGS[name], f"{entry.name}.{name}")
        elif kind is Interval:
            names = entry.metadata.get("names") or [f"{entry.name}{end}" for end in ("", "_low", "_high")]
            for name, part, meant in zip(names, ("value", "low", "high"), _ENDS, strict=True):
                yield Column(name, float, meant.format(meaning), f"{entry.name}.{part}")
        else:
            yield Column(entry.name, _kind(kind), meaning, entry.name)


def _kind(hint: Any) -> type:
    """The one type of an optional one."""
    (kind,) = {*(get_args(hint) or (hint,))} - {type(None)}
    assert isinstance(kind, type)
    return kind


def _float(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _bool(value: Any) -> bool | None:
    return None if value is None else bool(value)


_CLEAN: dict[type, Callable[[Any], Value]] = {float: _float, int: _int, bool: _bool}
