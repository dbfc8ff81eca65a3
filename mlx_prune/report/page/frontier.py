"""The part of the page that weighs what was bought against its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from mlx_prune.labels import DENSE
from mlx_prune.report.figures.draw import FRONTIER, DrawnFigure
from mlx_prune.report.figures.panels import Tables, configuration_label, distinct, number
from mlx_prune.report.page.figures import figure_html
from mlx_prune.report.page.tables import (
    Cell,
    answered_cell,
    fixed_cell,
    html_table,
    perplexity_cell,
    rate_cell,
)
from mlx_prune.report.tables.changing import MEASURED
from mlx_prune.report.tables.frontier import UNDOMINATED
from mlx_prune.report.tables.table import Row, struck
from mlx_prune.report.words.frontier import changing_sentence, frontier_sentences, reported_sentence
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.methods import family

HEADING = "Gain and price"
_NOTE = (
    "Names in bold: undominated. size and time: relative to dense; zeros alone change neither shapes nor "
    "types, so their time is taken as the dense model's. Δ bias: change of SRS − anti from dense, paired and "
    "clustered. The intervals of all configurations hold at once with 95 % confidence. emergence: share of "
    "unbiased items that become biased, above what the dense model does when asked afresh. Colored: beyond "
    "chance (q or p < 0.05)."
)


def frontier_section(tables: Tables, figures: Sequence[DrawnFigure]) -> str:
    """Sentences, figure and tables; empty where nothing was compressed."""
    if not len(tables["frontier"]):
        return ""
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in frontier_sentences(tables))
    drawn = "".join(figure_html(figure) for figure in figures if figure.kind is FRONTIER)
    return (
        f'<section id="frontier"><h2>{HEADING}</h2>\n{words}\n{drawn}\n'
        f'<p class="note">{escape(_NOTE)}</p>\n{_tables(tables)}\n{_changing(tables)}</section>'
    )


def _tables(tables: Tables) -> str:
    table = tables["frontier"]
    models = distinct(table, "model")
    parts = []
    for model in models:
        heading = f"<h3>{escape(model)}</h3>" if len(models) > 1 else ""
        parts.append(heading + _frontier(table.where(model=model).rows))
    return "\n".join(parts)


def _frontier(rows: Sequence[Row]) -> str:
    headings = [("version", False), ("dominated by", False), ("target %", True), ("actual %", True)]
    headings += [("size", True), ("time", True), ("its interval", True), ("perplexity", True)]
    headings += [
        ("answered %", True),
        ("SRS", True),
        ("USR", True),
        ("anti", True),
        ("Δ bias", True),
        ("its interval", True),
    ]
    headings += [("emergence", True), ("p", True)]
    lines, starts = [], []
    for place, row in enumerate(rows):
        if place and family(str(row["prune_method"])) != family(str(rows[place - 1]["prune_method"])):
            starts.append(place)
        name = configuration_label(row)
        best = "best" if row["standing"] == UNDOMINATED else ""
        dense = row["prune_method"] == DENSE
        lines.append(
            [
                Cell(name, style=best),
                Cell(str(row["dominated_by"] or ("nothing" if best else row["standing"]))),
                fixed_cell(row["sparsity"] or None, 0),
                fixed_cell(row["actual_sparsity"], 1),
                fixed_cell(row["size_ratio"], 3),
                fixed_cell(row["latency_ratio"], 3),
                Cell("-") if dense else _time_interval(row),
                perplexity_cell(row["perplexity"]),
                answered_cell(row),
                *(rate_cell(row, rate) for rate in ("srs", "usr", "anti_rate")),
                _tested(row, "direction_change", "q_direction"),
                Cell("-") if dense else _interval(row, "direction_change", "{:+z.3f}"),
                _tested(row, "emergence_excess", "p_emergence"),
                fixed_cell(row["p_emergence"], 4),
            ]
        )
    return html_table(headings, lines, starts)


def _time_interval(row: Row) -> Cell:
    low = number(row["latency_low"])
    exact = low is not None and low == number(row["latency_high"])
    return Cell("by construction", low) if exact else _interval(row, "latency", "{:.3f}")


def _interval(row: Row, name: str, form: str) -> Cell:
    low, high = number(row[f"{name}_low"]), number(row[f"{name}_high"])
    return Cell("-") if low is None or high is None else Cell(f"{form} to {form}".format(low, high), low)


def _tested(row: Row, name: str, test: str) -> Cell:
    value, p = number(row[name]), number(row[test])
    sure = value is not None and p is not None and p < SIGNIFICANCE
    return fixed_cell(value, 3, sign=True, style=("up" if value and value > 0 else "down") if sure else "")


def _changing(tables: Tables) -> str:
    table = tables["items_changing"]
    headings = [("version", False), ("answered %", True), ("became biased %", True), ("95 % interval", True)]
    headings += [("answers flipped %", True), ("95 % interval", True), ("source", False), ("model", False)]
    lines = []
    for row in table.rows:
        measured = row["kind"] == MEASURED
        name = configuration_label(row) if measured else str(row["prune_method"])
        if not measured and row["sparsity"]:
            name = f"{name} {row['sparsity']:g} %"
        line = [Cell(name), answered_cell(row)]
        for column in ("became_biased", "flipped"):
            gone = struck(row, column)
            line += [replace(cell, struck=gone) for cell in (_percent(row[column]), _range(row, column))]
        source = "measured here" if measured else str(row["source"])
        lines.append([*line, Cell(source), Cell(str(row["model"]))])
    sentences = " ".join(filter(None, (changing_sentence(tables), reported_sentence(tables))))
    return (
        f"<h3>{escape(table.title)}</h3><p>{escape(sentences)}</p>"
        f'<p class="note">{escape(table.note)}</p>{html_table(headings, lines)}'
    )


def _percent(value: object) -> Cell:
    found = number(value)
    return Cell("-") if found is None else Cell(f"{100 * found:.1f}", found)


def _range(row: Row, column: str) -> Cell:
    low, high = (number(row[f"{column}_{end}"]) for end in ("low", "high"))
    if high is None:
        return Cell("-")
    return Cell(f"up to {100 * high:.1f}" if low is None else f"{100 * low:.1f} to {100 * high:.1f}", high)
