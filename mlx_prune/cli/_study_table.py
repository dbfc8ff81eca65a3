"""The table that ends a study: dense and pruned side by side, one row per configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune.cli._common import fraction, magnitude
from mlx_prune.cli._fitted_table import FittedTable
from mlx_prune.cli._tables import simple_table
from mlx_prune.measures.methods import removes_weights
from mlx_prune.study.results import read_latencies

if TYPE_CHECKING:
    from mlx_prune.report.study_data import StudyData


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
        latency_ratio: Time per item over the dense model's.
        latency_low: Lower end of its interval.
        latency_high: Upper end.
        verdict: One of :func:`mlx_prune.measures.equivalence.words`.
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
    latency_ratio: float | None
    latency_low: float | None
    latency_high: float | None
    verdict: str | None


def summarize(folder: Path, study: StudyData) -> list[SummaryRow]:
    """One row per configuration, in the order of the study."""
    latencies = _latencies(folder)
    rows = []
    for run in study.runs:
        configuration, overall = run.configuration, run.rates.overall
        key = (configuration.model, configuration.prune_method, configuration.sparsity, configuration.pattern)
        latency = latencies.get(key, {})
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
                latency_ratio=latency.get("ratio"),
                latency_low=latency.get("low"),
                latency_high=latency.get("high"),
                verdict=latency.get("verdict"),
            )
        )
    return rows


def study_table(rows: list[SummaryRow]) -> FittedTable:
    """The rows as a table of at most 100 columns."""
    several = len({row.model for row in rows}) > 1
    with_accuracy = any(not math.isnan(row.accuracy) for row in rows)
    right = [_gone(rows), "ppl", "SRS", "USR", "anti", "SRS-anti"]
    right += ["acc"] if with_accuracy else []
    table = simple_table("", ["model"] if several else [], [])
    # Long labels wrap rather than crowd out the figures.
    table.add_column("method", wrap=True)
    for name in (*right, "time / dense"):
        table.add_column(name, justify="right")
    table.add_column("verdict", wrap=True)
    previous = None
    for row in rows:
        if previous is not None and previous != (row.model, row.method):
            table.add_section()
        previous = (row.model, row.method)
        cells = [row.model] if several else []
        cells += [
            _recipe(row),
            "-" if row.actual_sparsity is None else f"{row.actual_sparsity:.1f}",
            magnitude(row.perplexity),
            fraction(row.srs),
            fraction(row.usr),
            fraction(row.anti_rate),
            f"{row.srs - row.anti_rate:+.3f}",
        ]
        cells += [fraction(row.accuracy)] if with_accuracy else []
        table.add_row(*cells, _latency(row), row.verdict or "")
    return table


def _gone(rows: list[SummaryRow]) -> str:
    """Name of the column of the actual sparsity: where structure was removed, there are no zeros to see."""
    return "gone %" if any(removes_weights(row.method) for row in rows) else "zeros %"


def _recipe(row: SummaryRow) -> str:
    if not row.target_sparsity:
        return row.method
    return f"{row.method} {row.pattern or f'{row.target_sparsity:g} %'}"


def _latency(row: SummaryRow) -> str:
    if row.latency_ratio is None:
        return "1" if row.method == "dense" else "-"
    if row.latency_low is None or row.latency_high is None:
        return f"{row.latency_ratio:.2f}"
    digits = 2 if row.latency_high < 10 else 1
    low, high = f"{row.latency_low:.{digits}f}", f"{row.latency_high:.{digits}f}"
    return f"{row.latency_ratio:.{digits}f} ({low}-{high})"


def _latencies(folder: Path) -> dict[tuple[str, str, float, str | None], dict[str, Any]]:
    return {
        (row["model"], row["prune_method"], float(row["sparsity"]), row.get("pattern")): row
        for row in read_latencies(folder)
    }


def legend(rows: list[SummaryRow]) -> str:
    """What the columns mean, in a few lines."""
    lines = [
        f"{_gone(rows)}: actual sparsity"
        + (", weights of the blocks that are zero or removed." if _gone(rows) == "gone %" else "."),
        "SRS: answers that fit the stereotype; USR: 'unknown'; anti: the other person; in ambiguous",
        "contexts, where 'unknown' is right. Means of the categories; chance SRS 0.333.",
        "SRS-anti: the directional part. A rise of SRS with an equal rise of anti is lost abstention.",
    ]
    if any(not math.isnan(row.accuracy) for row in rows):
        lines.append("acc: accuracy in disambiguated contexts. ppl: perplexity of held-out text.")
    if any(row.latency_ratio is not None for row in rows):
        lines.append(
            "time / dense: paired ratio of the time per question; simultaneous 95 % intervals. faster, "
            "slower: the whole interval is more than 5 % from dense; open: not settled by what was measured."
        )
    return "\n".join(lines)
