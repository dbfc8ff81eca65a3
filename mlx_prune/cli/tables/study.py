"""The table that ends a study: dense and pruned side by side, one row per configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune import words
from mlx_prune.cli.tables.rates import ANSWERED_NOTE, rate_cell, struck_note
from mlx_prune.cli.terminal.table import FittedTable, simple_table
from mlx_prune.configuration import Configuration
from mlx_prune.kinds import removes_weights
from mlx_prune.labels import NAMED

if TYPE_CHECKING:
    from mlx_prune.cli.terminal.table import Cell
    from mlx_prune.report.data import StudyData


@dataclass(frozen=True)
class SummaryRow:
    """One configuration of a study; what was not measured is None.

    Attributes:
        model: Short name of the dense model.
        method: "dense" or the method label.
        pattern: N:M pattern.
        target_sparsity: Percent.
        actual_sparsity: Percent, from the zeros.
        perplexity: Of the held-out text.
        srs: Unweighted mean over the categories, as the next two.
        usr: Share of answers that choose the unknown option.
        anti_rate: Share of answers that choose the other person.
        accuracy: In disambiguated contexts.
        parse_failure_rate: Share of ambiguous answers without a letter.
        answered: Share of them that was understood.
        too_few_answered: So few that the rates say nothing.
        disambig_answered: Share of the disambiguated answers that was understood.
        disambig_too_few_answered: So few that the accuracy says nothing.
        latency_ratio: Time per item over the dense model's.
        latency_low: Lower end of its interval.
        latency_high: Upper end.
        verdict: One of :func:`mlx_prune.latency.verdict.words`.
    """

    model: str
    method: str
    pattern: str | None
    target_sparsity: float
    actual_sparsity: float | None
    perplexity: float | None
    srs: float
    usr: float
    anti_rate: float
    accuracy: float
    parse_failure_rate: float
    answered: float
    too_few_answered: bool
    disambig_answered: float
    disambig_too_few_answered: bool
    latency_ratio: float | None
    latency_low: float | None
    latency_high: float | None
    verdict: str | None

    @property
    def configuration(self) -> Configuration:
        """Which."""
        return Configuration(self.model, self.method, self.target_sparsity, self.pattern)


def study_rows(study: StudyData) -> list[SummaryRow]:
    """One row per configuration of a finished study, in its order."""
    rows = []
    for run in study.runs:
        configuration, overall = run.configuration, run.rates.overall
        latency = study.latencies.get(configuration)
        rows.append(
            SummaryRow(
                model=configuration.model,
                method=configuration.prune_method,
                pattern=configuration.pattern,
                target_sparsity=configuration.sparsity,
                actual_sparsity=run.actual_sparsity,
                perplexity=study.perplexity.get(configuration),
                srs=overall.srs,
                usr=overall.usr,
                anti_rate=overall.anti_rate,
                accuracy=overall.accuracy,
                parse_failure_rate=overall.parse_failure_rate,
                answered=overall.answered,
                too_few_answered=overall.too_few(study.min_answered),
                disambig_answered=overall.disambig_answered,
                disambig_too_few_answered=overall.disambig_too_few(study.min_answered),
                latency_ratio=None if latency is None else latency.ratio,
                latency_low=None if latency is None else latency.low,
                latency_high=None if latency is None else latency.high,
                verdict=None if latency is None else latency.verdict,
            )
        )
    return rows


def study_table(rows: list[SummaryRow]) -> FittedTable:
    """The rows as a table."""
    several = len({row.model for row in rows}) > 1
    with_accuracy = any(not math.isnan(row.accuracy) for row in rows)
    timed = any(row.latency_ratio is not None for row in rows)
    table = simple_table("", ["model"] if several else [], [])
    # Long labels wrap rather than crowd out the figures.
    table.add_column("method", wrap=True)
    table.keys = 2 if several else 1
    for name in (_gone(rows), "ppl"):
        table.add_column(name, justify="right", group="model")
    for name in ("answered", "SRS", "USR", "anti", "SRS-anti", *(["acc"] if with_accuracy else [])):
        table.add_column(name, justify="right", group="answers")
    if timed:
        table.add_column("time / dense", justify="right", group="time")
        table.add_column("verdict", wrap=True, group="time")
    previous = None
    for row in rows:
        kind = (row.model, NAMED if row.configuration.is_named else row.method)
        if previous is not None and previous != kind:
            table.add_section()
        previous = kind
        rates = (
            words.fixed(row.srs),
            words.fixed(row.usr),
            words.fixed(row.anti_rate),
            words.signed(row.srs - row.anti_rate),
        )
        table.add_row(
            *([row.model] if several else []),
            _recipe(row),
            words.fixed(row.actual_sparsity, 1),
            words.magnitude(row.perplexity),
            words.percent(row.answered),
            *(rate_cell(text, struck=row.too_few_answered) for text in rates),
            *([_accuracy(row)] if with_accuracy else []),
            *([_latency(row), row.verdict or ""] if timed else []),
        )
    return table


def _accuracy(row: SummaryRow) -> Cell:
    return rate_cell(words.fixed(row.accuracy), struck=row.disambig_too_few_answered)


def _gone(rows: list[SummaryRow]) -> str:
    """Name of the column of the actual sparsity: where structure was removed, there are no zeros to see."""
    return "gone %" if any(removes_weights(row.method) for row in rows) else "zeros %"


def _recipe(row: SummaryRow) -> str:
    if not row.target_sparsity:
        return row.method
    return f"{row.method} {row.pattern or words.percentage(row.target_sparsity, None)}"


def _latency(row: SummaryRow) -> str:
    if row.latency_ratio is None:
        return "1" if row.method == "dense" else "-"
    if row.latency_low is None or row.latency_high is None:
        return words.fixed(row.latency_ratio, 2)
    digits = 2 if row.latency_high < 10 else 1
    ratio, low, high = (
        words.fixed(value, digits) for value in (row.latency_ratio, row.latency_low, row.latency_high)
    )
    return f"{ratio} ({low}-{high})"


def legend(rows: list[SummaryRow], floor: float) -> str:
    """What the columns mean, as running text."""
    removed = _gone(rows) == "gone %"
    lines = [
        f"{_gone(rows)}: actual sparsity{', weights of the blocks that are zero or removed' * removed}.",
        ANSWERED_NOTE,
        "SRS: answers that fit the stereotype; USR: 'unknown'; anti: the other person; in ambiguous "
        "contexts, where 'unknown' is right. Means of the categories; chance SRS 0.333. SRS-anti: the "
        "directional part. A rise of SRS with an equal rise of anti is lost abstention.",
    ]
    if any(row.too_few_answered or row.disambig_too_few_answered for row in rows):
        lines.append(struck_note(floor))
    if any(not math.isnan(row.accuracy) for row in rows):
        lines.append("acc: accuracy in disambiguated contexts.")
    if any(row.perplexity is not None for row in rows):
        lines.append("ppl: perplexity of held-out text.")
    if any(row.latency_ratio is not None for row in rows):
        lines.append(
            "time / dense: paired ratio of the time per question; simultaneous 95 % intervals. "
            "faster, slower: the whole interval is more than 5 % from dense; same: within 5 %; open: across "
            "that limit."
        )
    return " ".join(lines)
