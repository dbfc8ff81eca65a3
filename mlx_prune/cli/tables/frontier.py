"""What was bought and at what price, for a terminal; intervals stand below their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlx_prune import words
from mlx_prune.cli.tables.rates import rate_cell
from mlx_prune.cli.terminal.table import FittedTable, simple_table
from mlx_prune.report.tables.frontier import UNDOMINATED, Frontier
from mlx_prune.report.tables.table import Interval
from mlx_prune.stats.levels import SIGNIFICANCE

FRONTIER_LEGEND = (
    "gone: % of weights zero or removed. size, time: relative to dense; bits: on disk, per weight; zeros "
    "alone change no time. answ. %: answers understood; rates of too few stand in brackets, struck out. "
    "bias: change of SRS - anti from dense. emerg.: share of unbiased items that become biased, above what "
    "dense does when asked afresh. Below: simultaneous 95 % intervals; * beyond chance. dominated by: no "
    "worse, and better in something."
)


def frontier_table(rows: Sequence[Frontier]) -> FittedTable:
    """The rows of the table ``frontier``; measures that nobody has are left out."""
    models = list(dict.fromkeys(row.configuration.model for row in rows))
    table = simple_table("Gain and price", [], [])
    table.add_column("version")
    optional: dict[str, tuple[Callable[[Frontier], str], bool]] = {
        "size": (_size, any(row.size_ratio is not None for row in rows)),
        "bits": (_bits, any(row.bits_per_weight is not None for row in rows)),
        "time": (_time, any(row.latency.value is not None for row in rows)),
        "ppl": (_perplexity, any(row.perplexity.value is not None for row in rows)),
    }
    shown = {name: cell for name, (cell, known) in optional.items() if known}
    for name in ("gone", *shown, "answ. %", "SRS", "USR", "anti", "bias", "emerg."):
        table.add_column(name, justify="right")
    table.add_column("dominated by", wrap=True)
    for model in models:
        if len(models) > 1:
            table.add_section()
            table.add_row(model, style="bold")
        for row in rows:
            if row.configuration.model == model:
                table.add_row(
                    row.configuration.name,
                    words.fixed(row.actual_sparsity, 1),
                    *(cell(row) for cell in shown.values()),
                    words.percent_cell(row.answered),
                    *(
                        rate_cell(words.fixed(rate), struck=row.too_few_answered)
                        for rate in (row.srs, row.usr, row.anti_rate)
                    ),
                    _tested(row.direction_change, row.q_direction) + _ends(row.direction_change),
                    _tested(row.emergence_excess, row.p_emergence),
                    _standing(row),
                )
    return table


def _size(row: Frontier) -> str:
    return words.fixed(row.size_ratio, 2)


def _bits(row: Frontier) -> str:
    return words.fixed(row.bits_per_weight, 2)


def _time(row: Frontier) -> str:
    ratio, ends = words.fixed(row.latency.value, 2), row.latency.ends
    if ends is None or ends[0] == ends[1]:
        return ratio
    return f"{ratio}\n{words.interval(*ends, _two_digits, '-')}"


def _two_digits(value: float) -> str:
    return words.fixed(value, 2)


def _perplexity(row: Frontier) -> str:
    return words.magnitude(row.perplexity.value)


def _tested(change: Interval, p: float | None) -> str:
    return words.signed(change.value) + "*" * (
        change.value is not None and p is not None and p < SIGNIFICANCE
    )


def _ends(change: Interval) -> str:
    if change.ends is None or change.low == change.high:
        return ""
    low, high = change.ends
    return f"\n{low:+z.2f} {high:+z.2f}".replace("0.", ".")


def _standing(row: Frontier) -> str:
    if row.standing == UNDOMINATED:
        return "nothing"
    first, *others = (row.dominated_by or row.standing).split(", ")
    return first + (f"\n+{len(others)} more" if others else "")
