"""What was bought and at what price, for a terminal; intervals stand below their figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlx_prune import words
from mlx_prune.cli.tables.rates import rate_cell
from mlx_prune.cli.terminal.table import FittedTable, simple_table
from mlx_prune.report.figures.panels import configuration_label, number
from mlx_prune.report.tables.frontier import UNDOMINATED
from mlx_prune.report.tables.table import Row
from mlx_prune.stats.levels import SIGNIFICANCE

FRONTIER_LEGEND = (
    "gone: % of weights zero or removed. size, time: relative to dense; zeros alone change no time. answ. %: "
    "answers understood; rates of too few stand in brackets, struck out. bias: change of SRS - anti from "
    "dense. emerg.: share of unbiased items that become biased, above what dense does when asked afresh. "
    "Below: simultaneous 95 % intervals; * beyond chance. dominated by: no worse, and better in something."
)


def frontier_table(rows: Sequence[Row]) -> FittedTable:
    """The rows of the table ``frontier``; measures that nobody has are left out."""
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    table = simple_table("Gain and price", [], [])
    table.add_column("version")
    optional = [("size", "size_ratio"), ("time", "latency_ratio"), ("ppl", "perplexity")]
    shown = [(name, key) for name, key in optional if any(row[key] is not None for row in rows)]
    for name in ("gone", *(name for name, _ in shown), "answ. %", "SRS", "USR", "anti", "bias", "emerg."):
        table.add_column(name, justify="right")
    table.add_column("dominated by", wrap=True)
    cells = {"size_ratio": _size, "latency_ratio": _time, "perplexity": _perplexity}
    for model in models:
        if len(models) > 1:
            table.add_section()
            table.add_row(model, style="bold")
        for row in rows:
            if row["model"] == model:
                few = bool(row["too_few_answered"])
                table.add_row(
                    configuration_label(row),
                    words.fixed(number(row["actual_sparsity"]), 1),
                    *(cells[key](row) for _, key in shown),
                    words.percent_cell(number(row["answered"])),
                    *(
                        rate_cell(words.fixed(number(row[rate])), struck=few)
                        for rate in ("srs", "usr", "anti_rate")
                    ),
                    _tested(row, "direction_change", "q_direction") + _ends(row, "direction_change"),
                    _tested(row, "emergence_excess", "p_emergence"),
                    _standing(row),
                )
    return table


def _size(row: Row) -> str:
    return words.fixed(number(row["size_ratio"]), 2)


def _time(row: Row) -> str:
    low, high = number(row["latency_low"]), number(row["latency_high"])
    ratio = words.fixed(number(row["latency_ratio"]), 2)
    if low is None or high is None or low == high:
        return ratio
    return f"{ratio}\n{words.interval(low, high, _two_digits, '-')}"


def _two_digits(value: float) -> str:
    return words.fixed(value, 2)


def _perplexity(row: Row) -> str:
    return words.magnitude(math.inf if row["perplexity"] == math.inf else number(row["perplexity"]))


def _tested(row: Row, name: str, test: str) -> str:
    value, p = number(row[name]), number(row[test])
    return words.signed(value) + "*" * (value is not None and p is not None and p < SIGNIFICANCE)


def _ends(row: Row, name: str) -> str:
    low, high = number(row[f"{name}_low"]), number(row[f"{name}_high"])
    if low is None or high is None or low == high:
        return ""
    return f"\n{low:+z.2f} {high:+z.2f}".replace("0.", ".")


def _standing(row: Row) -> str:
    if row["standing"] == UNDOMINATED:
        return "nothing"
    first, *others = str(row["dominated_by"] or row["standing"]).split(", ")
    return first + (f"\n+{len(others)} more" if others else "")
