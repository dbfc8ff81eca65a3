"""Tables of the page: what stands in their cells; the template makes HTML of them that sorts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_prune import words
from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE, family, removes_weights
from mlx_prune.report.figures.panels import Tables, configuration_label, distinct, key_of, number
from mlx_prune.report.tables.changing import MEASURED
from mlx_prune.report.tables.frontier import UNDOMINATED
from mlx_prune.report.tables.table import Row, Table, Value, show, struck
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.rates import OVERALL


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the number it is sorted by (None: its text), a CSS class, whether it is struck."""

    text: str
    value: float | None = None
    style: str = ""
    struck: bool = False


@dataclass(frozen=True)
class Column:
    """A column: its heading, what it says of a row, and whether it holds numbers."""

    heading: str
    cell: Callable[[Row], Cell]
    numeric: bool = True


@dataclass(frozen=True)
class Grid:
    """A table as the page shows it.

    Attributes:
        columns: Its columns.
        rows: As many cells as columns, each.
        starts: Rows that begin a group.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    starts: frozenset[int] = frozenset()


def grid(rows: Sequence[Row], columns: Sequence[Column], *, grouped: bool = False) -> Grid:
    """Fill in the cells.

    Args:
        rows: Of a table.
        columns: What to show of each.
        grouped: Whether every family of methods is a group.
    """
    families = [family(str(row["prune_method"])) for row in rows] if grouped else []
    starts = (place for place in range(1, len(families)) if families[place] != families[place - 1])
    return Grid(columns, [[_shown(column, row) for column in columns] for row in rows], frozenset(starts))


def _shown(column: Column, row: Row) -> Cell:
    cell = column.cell(row)
    style = f"n {cell.style}".strip() if column.numeric else cell.style
    return replace(cell, style=style, struck=cell.struck and cell.text != words.NONE)


def whole_table(table: Table[Any]) -> Grid:
    """A table of the report, all columns."""
    return grid(table.rows, [_any_column(table, name) for name in table.columns])


def _any_column(table: Table[Any], name: str) -> Column:
    numeric = all(value is None or number(value) is not None for value in table.column(name))

    def cell(row: Row) -> Cell:
        value = row[name]
        text = show(value)
        # What is shown of a short whole number sorts as well as the number itself.
        exact = number(value) if numeric and text != str(value) else None
        return Cell(text, exact, struck=struck(row, name))

    return Column(name, cell, numeric)


def overview(tables: Tables) -> list[tuple[str, Grid]]:
    """A table per model, one row per configuration: what was done, what it did, what it bought."""
    table = tables["overall"]
    return [(model, _overview(tables, table.where(model=model).rows)) for model in distinct(table, "model")]


def _overview(tables: Tables, rows: Sequence[Row]) -> Grid:
    changes = {key_of(row): row for row in tables["paired_tests"].rows if row["category"] == OVERALL}
    ratios = {key_of(row): row for row in tables["latency_ratios"].rows}
    removed = any(removes_weights(str(row["prune_method"])) for row in rows)
    columns = [
        Column("version", lambda row: Cell(configuration_label(row)), numeric=False),
        Column("zero or removed %" if removed else "zeros %", lambda row: fixed(row["actual_sparsity"], 1)),
        Column("perplexity", perplexity),
        Column("answered %", answered),
        Column("SRS", lambda row: rate(row, "srs")),
        Column("change", lambda row: _change(changes.get(key_of(row)))),
        Column("95 % interval", lambda row: _change_interval(changes.get(key_of(row)))),
        Column("USR", lambda row: rate(row, "usr")),
        Column("SRS − anti", lambda row: rate(row, "bias_score", sign=True)),
    ]
    columns += [Column("time / dense", lambda row: _ratio(ratios, row))] if ratios else []
    return grid(rows, columns, grouped=True)


def frontier(tables: Tables) -> list[tuple[str, Grid]]:
    """A table per model of what was bought and at what price."""
    table = tables["frontier"]
    return [
        (model, grid(table.where(model=model).rows, FRONTIER, grouped=True))
        for model in distinct(table, "model")
    ]


def changing(tables: Tables) -> Grid:
    """What changed, measured here and reported by others."""
    shares = [("became biased %", "became_biased"), ("answers flipped %", "flipped")]
    columns = [Column("version", _changing_name, numeric=False), Column("answered %", answered)]
    for heading, name in shares:
        columns += [Column(heading, _share(name)), Column("95 % interval", _share_interval(name))]
    columns += [
        Column("source", lambda row: Cell(_source(row)), numeric=False),
        Column("model", lambda row: Cell(str(row["model"])), numeric=False),
    ]
    return grid(tables["items_changing"].rows, columns)


def fixed(value: Value, digits: int, *, sign: bool = False, style: str = "") -> Cell:
    """A number with so many decimals; "-" where there is none."""
    found = number(value)
    text = (words.signed if sign else words.fixed)(found, digits)
    return Cell(text, found, "" if found is None else style)


def interval(row: Row, name: str, write: words.Write = words.fixed) -> Cell:
    """Both ends of a column's interval."""
    low, high = number(row[f"{name}_low"]), number(row[f"{name}_high"])
    return Cell(words.interval(low, high, write), None if high is None else low)


def rate(row: Row, column: str, *, sign: bool = False) -> Cell:
    """A rate, struck out where too few answers are behind it."""
    return replace(fixed(row[column], 3, sign=sign), struck=struck(row, column))


def answered(row: Row) -> Cell:
    """Percent of the answers that were understood."""
    found = number(row["answered"])
    style = "few" if found is not None and row["too_few_answered"] else ""
    return Cell(words.percent_cell(found), found, style)


def perplexity(row: Row) -> Cell:
    """A perplexity, which may span many orders, or be infinite."""
    value = row["perplexity"]
    found = math.inf if value == math.inf else number(value)
    return Cell(words.magnitude(found), None if found is None else min(found, 1e300))


def _change(row: Row | None) -> Cell:
    if row is None:
        return Cell(words.NONE)
    return fixed(row["srs_delta"], 3, sign=True, style=_direction(row["srs_delta"], row["q_clustered"]))


def _change_interval(row: Row | None) -> Cell:
    if row is None or number(row["srs_delta"]) is None:
        return Cell(words.NONE)
    return interval(row, "srs_delta", words.signed)


def _direction(value: Value, p: Value) -> str:
    """The CSS class of a change beyond chance."""
    change, chance = number(value), number(p)
    if change is None or chance is None or chance >= SIGNIFICANCE:
        return ""
    return "up" if change > 0 else "down"


def _ratio(ratios: dict[Configuration, Row], row: Row) -> Cell:
    if row["prune_method"] == DENSE:
        return Cell("1", 1.0)
    found = ratios.get(key_of(row))
    ratio = None if found is None else number(found["ratio"])
    if found is None or ratio is None:
        return Cell(words.NONE)
    verdict = f" ({found['verdict']})" if found["verdict"] else ""
    return Cell(words.fixed(ratio) + verdict, ratio)


def _standing(row: Row) -> Cell:
    undominated = row["standing"] == UNDOMINATED
    return Cell(str(row["dominated_by"] or ("nothing" if undominated else row["standing"])))


def _tested(name: str, test: str) -> Callable[[Row], Cell]:
    return lambda row: fixed(row[name], 3, sign=True, style=_direction(row[name], row[test]))


def _time_interval(row: Row) -> Cell:
    low = number(row["latency_low"])
    exact = low is not None and low == number(row["latency_high"])
    return Cell("by construction", low) if exact else interval(row, "latency")


def _of_compressed(cell: Callable[[Row], Cell]) -> Callable[[Row], Cell]:
    return lambda row: Cell(words.NONE) if row["prune_method"] == DENSE else cell(row)


FRONTIER = (
    Column(
        "version",
        lambda row: Cell(configuration_label(row), style="best" * (row["standing"] == UNDOMINATED)),
        numeric=False,
    ),
    Column("dominated by", _standing, numeric=False),
    Column("target %", lambda row: fixed(row["sparsity"] or None, 0)),
    Column("actual %", lambda row: fixed(row["actual_sparsity"], 1)),
    Column("size", lambda row: fixed(row["size_ratio"], 3)),
    Column("time", lambda row: fixed(row["latency_ratio"], 3)),
    Column("its interval", _of_compressed(_time_interval)),
    Column("perplexity", perplexity),
    Column("answered %", answered),
    Column("SRS", lambda row: rate(row, "srs")),
    Column("USR", lambda row: rate(row, "usr")),
    Column("anti", lambda row: rate(row, "anti_rate")),
    Column("Δ bias", _tested("direction_change", "q_direction")),
    Column("its interval", _of_compressed(lambda row: interval(row, "direction_change", words.signed))),
    Column("emergence", _tested("emergence_excess", "p_emergence")),
    Column("p", lambda row: fixed(row["p_emergence"], 4)),
)
"""What was bought and at what price."""


def _changing_name(row: Row) -> Cell:
    if row["kind"] == MEASURED:
        return Cell(configuration_label(row))
    sparsity = f" {words.percentage(number(row['sparsity']), None)}" if row["sparsity"] else ""
    return Cell(f"{row['prune_method']}{sparsity}")


def _source(row: Row) -> str:
    return "measured here" if row["kind"] == MEASURED else str(row["source"])


def _share(name: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        found = number(row[name])
        return Cell(words.percent_cell(found), found, struck=struck(row, name))

    return cell


def _share_interval(name: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        low, high = (number(row[f"{name}_{end}"]) for end in ("low", "high"))
        if low is None and high is not None:
            text = f"up to {words.percent_cell(high)}"
        else:
            text = words.interval(low, high, words.percent_cell)
        return Cell(text, high, struck=struck(row, name))

    return cell
