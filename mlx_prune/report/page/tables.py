"""Tables of the page: HTML that sorts, and the overview with one row per configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE
from mlx_prune.report.figures.panels import Tables, configuration_label, key_of, number
from mlx_prune.report.tables.table import Row, Table, Value, show, struck
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.methods import family, removes_weights
from mlx_prune.stats.rates import OVERALL


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the number it is sorted by (None: its text), a CSS class, whether it is struck."""

    text: str
    value: float | None = None
    style: str = ""
    struck: bool = False


def html_table(
    headings: Sequence[tuple[str, bool]], rows: Iterable[Sequence[Cell]], groups: Iterable[int] = ()
) -> str:
    """A table whose headings sort it.

    Args:
        headings: Text, and whether the column holds numbers.
        rows: As many cells as headings.
        groups: Rows that begin a group.
    """
    starts = set(groups)
    head = "".join(
        f'<th scope="col"{_class("n" * numeric)}><button type="button">{escape(text)}</button></th>'
        for text, numeric in headings
    )
    lines = []
    for place, row in enumerate(rows):
        cells = "".join(
            f"<td{_class(f'n {cell.style}'.strip() if numeric else cell.style)}{_sort_value(cell)}>"
            f"{_text(cell)}</td>"
            for cell, (_, numeric) in zip(row, headings, strict=True)
        )
        lines.append(f"<tr{_class('group' * (place in starts))}>{cells}</tr>")
    body = "\n".join(lines)
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _text(cell: Cell) -> str:
    return f"<s>{escape(cell.text)}</s>" if cell.struck and cell.text != "-" else escape(cell.text)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _sort_value(cell: Cell) -> str:
    return "" if cell.value is None else f' data-v="{cell.value:.7g}"'


def any_table(table: Table) -> str:
    """A table of the report as HTML, all columns."""
    numeric = {
        name: all(value is None or number(value) is not None for value in table.column(name))
        for name in table.columns
    }
    rows = [
        [replace(_cell(row[name], numeric[name]), struck=struck(row, name)) for name in table.columns]
        for row in table.rows
    ]
    return html_table([(name, numeric[name]) for name in table.columns], rows)


def _cell(value: Value, numeric: bool) -> Cell:
    # What is shown of a short whole number sorts as well as the number itself.
    text = "-" if value is None else show(value)
    return Cell(text, number(value) if numeric and text != str(value) else None)


def overview(tables: Tables) -> str:
    """A table per model, one row per configuration: what was done, what it did, what it bought."""
    rows = tables["overall"].rows
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    parts = []
    for model in models:
        heading = f"<h3>{escape(model)}</h3>" if len(models) > 1 else ""
        parts.append(heading + _overview(tables, [row for row in rows if row["model"] == model]))
    return "\n".join(parts)


def _overview(tables: Tables, rows: Sequence[Row]) -> str:
    changes = {key_of(row): row for row in tables["paired_tests"].rows if row["category"] == OVERALL}
    ratios = {key_of(row): row for row in tables["latency_ratios"].rows}
    methods = [str(row["prune_method"]) for row in rows]
    removed = "zero or removed %" if any(map(removes_weights, methods)) else "zeros %"
    headings = [
        ("version", False),
        (removed, True),
        ("perplexity", True),
        ("answered %", True),
        ("SRS", True),
    ]
    headings += [("change", True), ("95 % interval", True), ("USR", True), ("SRS − anti", True)]
    headings += [("time / dense", True)] if ratios else []
    lines, starts = [], []
    for place, row in enumerate(rows):
        if place and family(methods[place]) != family(methods[place - 1]):
            starts.append(place)
        cells = [Cell(configuration_label(row)), fixed_cell(row["actual_sparsity"], 1)]
        cells += [
            perplexity_cell(row["perplexity"]),
            answered_cell(row),
            rate_cell(row, "srs"),
            *_change(changes.get(key_of(row))),
            rate_cell(row, "usr"),
            rate_cell(row, "bias_score", sign=True),
        ]
        cells += [_ratio(ratios, row)] if ratios else []
        lines.append(cells)
    return html_table(headings, lines, starts)


def fixed_cell(value: Value, digits: int, *, sign: bool = False, style: str = "") -> Cell:
    """A number with so many decimals; "-" where there is none."""
    found = number(value)
    if found is None:
        return Cell("-")
    return Cell(f"{found:+z.{digits}f}" if sign else f"{found:z.{digits}f}", found, style)


def rate_cell(row: Row, column: str, *, sign: bool = False) -> Cell:
    """A rate, struck out where too few answers are behind it."""
    return replace(fixed_cell(row[column], 3, sign=sign), struck=struck(row, column))


def answered_cell(row: Row) -> Cell:
    """Percent of the answers that were understood."""
    found = number(row["answered"])
    return (
        Cell("-")
        if found is None
        else Cell(f"{100 * found:.1f}", found, "few" * bool(row["too_few_answered"]))
    )


def perplexity_cell(value: Value) -> Cell:
    """A perplexity, which may span many orders, or be infinite."""
    if value == math.inf:
        return Cell("∞", 1e300)
    found = number(value)
    if found is None:
        return Cell("-")
    text = f"{found:.2f}" if found < 1000 else f"{found:,.0f}" if found < 1e6 else f"{found:.1e}"
    return Cell(text, found)


def _change(row: Row | None) -> tuple[Cell, Cell]:
    change = None if row is None else number(row["srs_delta"])
    if row is None or change is None:
        return Cell("-"), Cell("-")
    q = number(row["q_clustered"])
    sure = "" if q is None or q >= SIGNIFICANCE else "up" if change > 0 else "down"
    low, high = number(row["srs_delta_low"]), number(row["srs_delta_high"])
    interval = Cell("-") if low is None or high is None else Cell(f"{low:+z.3f} to {high:+z.3f}", low)
    return fixed_cell(change, 3, sign=True, style=sure), interval


def _ratio(ratios: dict[Configuration, Row], row: Row) -> Cell:
    if row["prune_method"] == DENSE:
        return Cell("1", 1.0)
    found = ratios.get(key_of(row))
    ratio = None if found is None else number(found["ratio"])
    if found is None or ratio is None:
        return Cell("-")
    return Cell(f"{ratio:.3f} ({found['verdict']})" if found["verdict"] else f"{ratio:.3f}", ratio)
