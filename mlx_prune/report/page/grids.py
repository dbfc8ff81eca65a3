"""Tables of the page: what stands in their cells; the template makes HTML of them that sorts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from mlx_prune import words
from mlx_prune.configuration import Configuration
from mlx_prune.kinds import removes_weights
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.change import PairedTest
from mlx_prune.report.tables.changing import MEASURED, Changing
from mlx_prune.report.tables.frontier import UNDOMINATED, Frontier
from mlx_prune.report.tables.latency import LatencyRatio
from mlx_prune.report.tables.rates import Overall
from mlx_prune.report.tables.rows import Configured, Named, Rated, by_model
from mlx_prune.report.tables.table import Interval, Row, Table, finite, show, struck
from mlx_prune.report.words.frontier import reported_name
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.rates import OVERALL

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the number it is sorted by (None: its text), a CSS class, whether it is struck."""

    text: str
    value: float | None = None
    style: str = ""
    struck: bool = False


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column: its heading, what it says of a row, and whether it holds numbers."""

    heading: str
    cell: Callable[[R], Cell]
    numeric: bool = True


@dataclass(frozen=True)
class Grid:
    """A table as the page shows it.

    Attributes:
        columns: Its columns.
        rows: As many cells as columns, each.
        starts: Rows that begin a group.
    """

    columns: Sequence[Column[Any]]
    rows: Sequence[Sequence[Cell]]
    starts: frozenset[int] = frozenset()


def grid(rows: Sequence[R], columns: Sequence[Column[R]], starts: frozenset[int] = frozenset()) -> Grid:
    """Fill in the cells.

    Args:
        rows: Of a table.
        columns: What to show of each.
        starts: Rows that begin a group.
    """
    return Grid(columns, [[_shown(column, row) for column in columns] for row in rows], starts)


def _shown(column: Column[R], row: R) -> Cell:
    cell = column.cell(row)
    style = f"n {cell.style}".strip() if column.numeric else cell.style
    return replace(cell, style=style, struck=cell.struck and cell.text != words.NONE)


def _families(rows: Sequence[Named]) -> frozenset[int]:
    """Where a family of methods begins."""
    found = [row.configuration.group for row in rows]
    return frozenset(place for place in range(1, len(found)) if found[place] != found[place - 1])


def whole_table(table: Table[Any]) -> Grid:
    """A table of the report, all columns."""
    return grid(table.rows, [_any_column(column.name, column.is_number) for column in table.schema.columns])


def _any_column(name: str, numeric: bool) -> Column[Row]:
    def cell(row: Row) -> Cell:
        value = row[name]
        text = show(value)
        # What is shown of a short whole number sorts as well as the number itself.
        exact = finite(value) if numeric and text != str(value) else None
        return Cell(text, exact, struck=struck(row, name))

    return Column(name, cell, numeric)


def overview(tables: Tables) -> list[tuple[str, Grid]]:
    """A table per model, one row per configuration: what was done, what it did, what it bought."""
    return [(model, _overview(tables, rows)) for model, rows in by_model(tables.overall.rows).items()]


def _overview(tables: Tables, rows: Sequence[Overall]) -> Grid:
    changes = {row.configuration: row for row in tables.paired_tests.where(category=OVERALL).rows}
    ratios = {row.configuration: row for row in tables.latency_ratios.rows}
    removed = any(removes_weights(row.configuration.prune_method) for row in rows)
    columns: list[Column[Overall]] = [
        Column("version", _name, numeric=False),
        Column("zero or removed %" if removed else "zeros %", _actual),
        Column("perplexity", lambda row: perplexity(row.perplexity)),
        Column("answered %", answered),
        Column("SRS", lambda row: rate(row, "srs")),
        Column("change", lambda row: _change(changes.get(row.configuration))),
        Column("95 % interval", lambda row: _change_interval(changes.get(row.configuration))),
        Column("USR", lambda row: rate(row, "usr")),
        Column("SRS − anti", lambda row: rate(row, "bias_score", sign=True)),
    ]
    columns += [Column("time / dense", lambda row: _ratio(ratios, row.configuration))] if ratios else []
    return grid(rows, columns, _families(rows))


def frontier(tables: Tables) -> list[tuple[str, Grid]]:
    """A table per model of what was bought and at what price."""
    models = by_model(tables.frontier.rows)
    return [(model, grid(rows, FRONTIER, _families(rows))) for model, rows in models.items()]


def changing(tables: Tables) -> Grid:
    """What changed, measured here and reported by others."""
    columns: list[Column[Changing]] = [
        Column("version", lambda row: Cell(_version(row)), numeric=False),
        Column("answered %", answered),
        Column("became biased %", lambda row: _share(row, "became_biased")),
        Column("95 % interval", lambda row: _share_interval(row, "became_biased")),
        Column("answers flipped %", lambda row: _share(row, "flipped")),
        Column("95 % interval", lambda row: _share_interval(row, "flipped")),
        Column("source", lambda row: Cell(_source(row)), numeric=False),
        Column("model", lambda row: Cell(row.configuration.model), numeric=False),
    ]
    return grid(tables.items_changing.rows, columns)


def fixed(value: float | None, digits: int = 3, *, sign: bool = False, style: str = "") -> Cell:
    """A number with so many decimals; "-" where there is none."""
    found = finite(value)
    return Cell((words.signed if sign else words.fixed)(found, digits), found, style)


def interval(found: Interval, write: words.Write = words.fixed) -> Cell:
    """Both ends of an interval."""
    if found.ends is None:
        return Cell(words.NONE)
    return Cell(words.interval(*found.ends, write), found.low)


def rate(row: Rated, column: str, *, sign: bool = False) -> Cell:
    """A rate, struck out where too few answers are behind it."""
    return replace(fixed(row[column], sign=sign), struck=struck(row, column))


def answered(row: Rated) -> Cell:
    """Percent of the answers that were understood."""
    style = "few" if row.answered is not None and row.too_few_answered else ""
    return Cell(words.percent_cell(row.answered), row.answered, style)


def perplexity(value: float | None) -> Cell:
    """A perplexity, which may span many orders, or be infinite."""
    return Cell(words.magnitude(value), None if value is None else min(value, 1e300))


def _name(row: Named) -> Cell:
    return Cell(row.configuration.name)


def _actual(row: Configured) -> Cell:
    return fixed(row.actual_sparsity, 1)


def _change(row: PairedTest | None) -> Cell:
    if row is None:
        return Cell(words.NONE)
    return _tested(row.srs_delta.value, row.q_clustered)


def _change_interval(row: PairedTest | None) -> Cell:
    if row is None or row.srs_delta.value is None:
        return Cell(words.NONE)
    return interval(row.srs_delta, words.signed)


def _tested(value: float | None, p: float | None) -> Cell:
    """A change, colored where it is beyond chance."""
    sure = value is not None and p is not None and p < SIGNIFICANCE
    return fixed(value, sign=True, style=("up" if value and value > 0 else "down") if sure else "")


def _ratio(ratios: dict[Configuration, LatencyRatio], configuration: Configuration) -> Cell:
    if configuration.is_dense:
        return Cell("1", 1.0)
    found = ratios.get(configuration)
    if found is None or found.ratio.value is None:
        return Cell(words.NONE)
    verdict = f" ({found.verdict})" if found.verdict else ""
    return Cell(words.fixed(found.ratio.value) + verdict, found.ratio.value)


def _standing(row: Frontier) -> Cell:
    return Cell(row.dominated_by or ("nothing" if row.standing == UNDOMINATED else row.standing))


def _time_interval(row: Frontier) -> Cell:
    if row.configuration.is_dense:
        return Cell(words.NONE)
    ends = row.latency.ends
    exact = ends is not None and ends[0] == ends[1]
    return Cell("by construction", row.latency.low) if exact else interval(row.latency)


def _bias_interval(row: Frontier) -> Cell:
    return Cell(words.NONE) if row.configuration.is_dense else interval(row.direction_change, words.signed)


FRONTIER: tuple[Column[Frontier], ...] = (
    Column(
        "version",
        lambda row: replace(_name(row), style="best" * (row.standing == UNDOMINATED)),
        numeric=False,
    ),
    Column("dominated by", _standing, numeric=False),
    Column("target %", lambda row: fixed(row.configuration.sparsity or None, 0)),
    Column("actual %", _actual),
    Column("size", lambda row: fixed(row.size_ratio)),
    Column("bits", lambda row: fixed(row.bits_per_weight, 2)),
    Column("time", lambda row: fixed(row.latency.value)),
    Column("its interval", _time_interval),
    Column("perplexity", lambda row: perplexity(row.perplexity.value)),
    Column("answered %", answered),
    Column("SRS", lambda row: rate(row, "srs")),
    Column("USR", lambda row: rate(row, "usr")),
    Column("anti", lambda row: rate(row, "anti_rate")),
    Column("Δ bias", lambda row: _tested(row.direction_change.value, row.q_direction)),
    Column("its interval", _bias_interval),
    Column("emergence", lambda row: _tested(row.emergence_excess.value, row.p_emergence)),
    Column("p", lambda row: fixed(row.p_emergence, 4)),
)
"""What was bought and at what price."""


def _version(row: Changing) -> str:
    return row.configuration.name if row.kind == MEASURED else reported_name(row)


def _source(row: Changing) -> str:
    return "measured here" if row.kind == MEASURED else row.source or words.NONE


def _share(row: Changing, column: str) -> Cell:
    value = finite(row[column])
    return Cell(words.percent_cell(value), value, struck=struck(row, column))


def _share_interval(row: Changing, column: str) -> Cell:
    low, high = finite(row[f"{column}_low"]), finite(row[f"{column}_high"])
    if low is None and high is not None:
        text = f"up to {words.percent_cell(high)}"
    else:
        text = words.interval(low, high, words.percent_cell)
    return Cell(text, high, struck=struck(row, column))
