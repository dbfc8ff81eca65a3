"""The release gate on what was measured: a dense model and a candidate, from runs, studies or memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlx_prune.errors import RecordsError
from mlx_prune.measures.gate import (
    FAIL,
    PASS,
    UNDECIDED,
    Check,
    Estimate,
    Limits,
    judge_all,
    unmoved_bound,
)
from mlx_prune.measures.outcomes import DENSE, Configuration
from mlx_prune.report.rows import OVERALL, number_or_nan
from mlx_prune.report.study_data import NORMAL_95, RunData, StudyData, combine
from mlx_prune.report.table import Row
from mlx_prune.report.tables_change import direction_table, emergence_table, paired_test_table

# What two runs must share for their answers to be compared.
CONDITIONS = ("items", "prompts", "temperature", "max_tokens", "seeds", "noise")


@dataclass(frozen=True)
class PerplexityFigure:
    """A measured perplexity: value (infinite where it overflowed), standard error, and tokens predicted."""

    value: float
    standard_error: float
    tokens: int


@dataclass(frozen=True, eq=False)
class Measured:
    """What is known about one model.

    Attributes:
        name: For people.
        run: Its counted answers.
        perplexity: None if it was not measured.
        configuration: What its records depend on, as ``run.json`` says; empty if unknown.
    """

    name: str
    run: RunData
    perplexity: PerplexityFigure | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateResult:
    """A candidate held to its limits.

    Attributes:
        dense: Name of the dense model.
        candidate: Name of the candidate.
        checks: One per limit and scope.
        unmeasured: Limits that nothing was measured for.
    """

    dense: str
    candidate: str
    checks: tuple[Check, ...]
    unmeasured: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """Fail if any limit is broken, else undecided if any cannot be told, else pass."""
        found = {check.outcome for check in self.checks}
        return FAIL if FAIL in found else UNDECIDED if UNDECIDED in found else PASS


def gate(dense: Measured, candidate: Measured, limits: Limits | None = None) -> GateResult:
    """Hold a candidate to limits on how much worse than its dense model it may be.

    Args:
        dense: The dense model.
        candidate: What is to be released.
        limits: None takes the defaults of :class:`~mlx_prune.measures.gate.Limits`.

    Raises:
        RecordsError: The two were not asked the same questions in the same way, or there is nothing to
            compare.
    """
    limits = limits or Limits()
    _require_comparable(dense, candidate)
    same = _same_weights(dense, candidate)
    data = _side_by_side(dense.run, candidate.run)
    estimates = [*_answers(data, candidate.run, same), *_perplexity(dense, candidate, same)]
    measured = {estimate.measure for estimate in estimates}
    wanted = [name for name, limit in vars(limits).items() if limit is not None]
    return GateResult(
        dense.name,
        candidate.name,
        judge_all(estimates, limits),
        tuple(name for name in wanted if name not in measured),
    )


def _require_comparable(dense: Measured, candidate: Measured) -> None:
    for name in CONDITIONS:
        before, after = dense.configuration.get(name), candidate.configuration.get(name)
        if None not in (before, after) and before != after:
            raise RecordsError(
                f"{dense.name} and {candidate.name} were asked with different {name}; evaluate them alike."
            )


def _same_weights(dense: Measured, candidate: Measured) -> bool:
    before = dense.configuration.get("weights")
    return before is not None and before == candidate.configuration.get("weights")


def _side_by_side(dense: RunData, candidate: RunData) -> StudyData:
    """The two as the configurations of one model, whatever they are called."""
    names = (Configuration("model", DENSE, 0.0), Configuration("model", "candidate", 0.0))
    runs = [
        replace(run, configuration=name, outcomes=replace(run.outcomes, configuration=name))
        for run, name in zip((dense, candidate), names, strict=True)
    ]
    return combine(runs)


def _answers(data: StudyData, run: RunData, same: bool) -> list[Estimate]:
    """Worsening of everything that answers tell."""
    items = {rates.category: rates.n_items - rates.n_without_target for rates in run.rates.categories}
    items[OVERALL] = sum(items.values())
    found = []
    for row in paired_test_table(data).rows:
        measure = "srs_rise" if row["category"] == OVERALL else "category_srs_rise"
        scope = str(row["category"])
        found.append(_estimate(measure, scope, row, "srs_delta", 1, items[scope], same))
    drop = direction_table(data).where(category=OVERALL).rows
    # The abstention part of SRS is half the loss of USR.
    found += [_estimate("usr_drop", OVERALL, row, "abstention_part", 2, items[OVERALL], same) for row in drop]
    for row in emergence_table(data).rows:
        column = "excess" if row["excess"] is not None else "held_out_excess"
        unbiased = int(number_or_nan(row["unbiased_items"]))
        found.append(_estimate("emergence_excess", OVERALL, row, column, 1, unbiased, same))
    return found


def _estimate(
    measure: str, scope: str, row: Row, column: str, factor: float, items: int, same: bool
) -> Estimate:
    ends = (column, f"{column}_low", f"{column}_high")
    value, low, high = (factor * number_or_nan(row[name]) for name in ends)
    if same:
        value = low = high = 0.0
    elif low == high == value:
        bound = unmoved_bound(items)
        low, high = max(value - bound, -1.0), min(value + bound, 1.0)
    return Estimate(measure, scope, value, low, high, items)


def _perplexity(dense: Measured, candidate: Measured, same: bool) -> list[Estimate]:
    """Relative rise of perplexity. The two are taken as independent, which they are not: on the safe side."""
    before, after = dense.perplexity, candidate.perplexity
    if before is None or after is None:
        return []
    tokens = min(before.tokens, after.tokens)
    if same:
        return [Estimate("perplexity_rise", "text", 0.0, 0.0, 0.0, tokens, "tokens")]
    if math.isinf(after.value) or math.isinf(before.value):
        rise = math.inf if math.isinf(after.value) else -1.0
        return [Estimate("perplexity_rise", "text", rise, rise, rise, tokens, "tokens")]
    error = math.hypot(before.standard_error / before.value, after.standard_error / after.value)
    log_ratio = math.log(after.value / before.value)
    value, low, high = (math.expm1(log_ratio + shift * NORMAL_95 * error) for shift in (0, -1, 1))
    return [Estimate("perplexity_rise", "text", value, low, high, tokens, "tokens")]
