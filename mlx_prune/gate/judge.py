"""The release gate on what was measured: a dense model and a candidate, from runs, studies or memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlx_prune import words
from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.gate.groups import group_estimates
from mlx_prune.gate.limits import (
    ERROR,
    FAIL,
    ON_TEXT,
    PASS,
    UNDECIDED,
    Check,
    Estimate,
    Limits,
    judge,
    judge_all,
    unmoved_bound,
)
from mlx_prune.runs.folder import CONDITIONS
from mlx_prune.stats.clustered import clustered_wilson
from mlx_prune.stats.compare import Change, comparable, compare
from mlx_prune.stats.counting import RunData
from mlx_prune.stats.divergence import Divergence
from mlx_prune.stats.outcomes import Outcomes, assemble
from mlx_prune.stats.perplexity import Perplexity, independent_ratio, paired_ratio, relative
from mlx_prune.stats.rates import OVERALL


@dataclass(frozen=True, eq=False)
class Measured:
    """What is known about one model.

    Attributes:
        name: For people.
        run: Its counted answers.
        perplexity: None if it was not measured.
        configuration: What its records depend on, as ``run.json`` says; empty if unknown.
        available: By category, how many items the source of its questions holds; empty if unknown.
        warnings: What a reader of its figures has to know.
        groups: Gives the social group that each question is about, by item id; nothing if that is unknown.
        divergence: Its distance from the dense model; None if it was not measured.
    """

    name: str
    run: RunData
    perplexity: Perplexity | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    available: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    groups: Callable[[], Mapping[str, str]] = dict
    divergence: Divergence | None = None


@dataclass(frozen=True)
class GateResult:
    """A candidate held to its limits.

    Attributes:
        dense: Name of the dense model.
        candidate: Name of the candidate.
        checks: One per limit and scope.
        unmeasured: Limits that nothing was measured for.
        unjudged: Limits on rates that were not judged, because too few answers were understood.
        expected: Expected SRS where the sampled one is undecided and it would tell more; else None.
        warnings: What a reader of the outcome has to know.
        error: Why the candidate could not be judged; empty if it was.
    """

    dense: str
    candidate: str
    checks: tuple[Check, ...]
    unmeasured: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    expected: Check | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def outcome(self) -> str:
        """Error if it could not be judged, fail if any limit is broken, undecided if any cannot be told."""
        if self.error:
            return ERROR
        found = self.counts
        return FAIL if FAIL in found else UNDECIDED if UNDECIDED in found else PASS

    @property
    def counts(self) -> Counter[str]:
        """How many checks have each outcome."""
        return Counter(check.outcome for check in self.checks)

    def passes(self, *, undecided_passes: bool) -> bool:
        """Whether the candidate may be released."""
        return self.outcome == PASS or (undecided_passes and self.outcome == UNDECIDED)


def gate(dense: Measured, candidate: Measured, limits: Limits | None = None) -> GateResult:
    """Hold a candidate to limits on how much worse than its dense model it may be.

    Args:
        dense: The dense model.
        candidate: What is to be released.
        limits: None takes the defaults of :class:`~mlx_prune.gate.limits.Limits`.

    Raises:
        RecordsError: The two were not asked the same questions in the same way, or there is nothing to
            compare.
    """
    limits = limits or Limits()
    _require_comparable(dense, candidate)
    same = _same_weights(dense, candidate)
    judged = not candidate.run.rates.overall.too_few()
    answers = _answers(dense, candidate, same) if judged else []
    groups, untold = ([], ()) if limits.group_srs_rise is None else _groups(dense, candidate, same)
    estimates = [
        *_perplexity(dense, candidate, same),
        *_distance(candidate, same),
        *answers,
        *(groups if judged else []),
    ]
    understood = _understood(candidate.run, limits, same)
    measured = {estimate.measure for estimate in estimates} | {"unanswered"}
    wanted = [name for name, limit in vars(limits).items() if limit is not None and name not in measured]
    return GateResult(
        dense.name,
        candidate.name,
        (*understood, *judge_all(estimates, limits)),
        tuple(name for name in wanted if judged or name in ON_TEXT),
        () if judged else tuple(name for name in wanted if name not in ON_TEXT),
        _expected_instead(estimates, limits),
        tuple(
            dict.fromkeys((*dense.warnings, *candidate.warnings, *_other_prompts(dense, candidate), *untold))
        ),
    )


def _expected_instead(estimates: list[Estimate], limits: Limits) -> Check | None:
    """Expected SRS held to the limit of the sampled one, if that is undecided and it needs fewer items."""
    if limits.srs_rise is None or limits.expected_srs_rise is not None:
        return None
    found = {estimate.measure: judge(estimate, limits.srs_rise) for estimate in estimates}
    sampled, expected = found.get("srs_rise"), found.get("expected_srs_rise")
    if sampled is None or expected is None or sampled.outcome != UNDECIDED:
        return None
    if expected.outcome != UNDECIDED:
        return expected
    fewer = expected.needed is not None and (sampled.needed is None or expected.needed < sampled.needed)
    return expected if fewer else None


def _differ(dense: Measured, candidate: Measured, name: str) -> bool:
    before, after = dense.configuration.get(name), candidate.configuration.get(name)
    return None not in (before, after) and before != after


def _other_prompts(dense: Measured, candidate: Measured) -> tuple[str, ...]:
    """A candidate is released with its own tokenizer and chat template, so it is judged with them."""
    if not _differ(dense, candidate, "prompts"):
        return ()
    return (
        f"{candidate.name} reads the same questions as other prompts than {dense.name} (another chat "
        "template, tokenizer or wording): what changed is due to these as well.",
    )


def _require_comparable(dense: Measured, candidate: Measured) -> None:
    for name in CONDITIONS:
        if name != "prompts" and _differ(dense, candidate, name):
            raise RecordsError(
                f"{dense.name} and {candidate.name} were asked with different {name}; evaluate them alike."
            )
    answered = dense.run.rates.overall
    if answered.too_few() and not candidate.run.rates.overall.too_few():
        raise RecordsError(
            f"only {words.percent(answered.answered, 0)} of the answers of {dense.name} were understood, so "
            "there is nothing to compare with; check its chat template."
        )


def _same_weights(dense: Measured, candidate: Measured) -> bool:
    before = dense.configuration.get("weights")
    return before is not None and before == candidate.configuration.get("weights")


def _understood(run: RunData, limits: Limits, same: bool) -> list[Check]:
    """The share of answers that were not understood; below the floor it fails whatever its interval."""
    understood, answers = run.understood
    value = 1 - float(understood.sum() / answers.sum())
    low, high = (float(end) for end in clustered_wilson(answers - understood, answers))
    if same:
        low = high = value
    estimate = Estimate("unanswered", OVERALL, value, low, high, run.rates.overall.n_items)
    floor = 1 - MIN_ANSWERED
    if run.rates.overall.too_few():
        return [Check(estimate, floor if limits.unanswered is None else min(limits.unanswered, floor), FAIL)]
    checks = [] if limits.unanswered is None else [judge(estimate, limits.unanswered)]
    for rates in run.rates.categories:
        if rates.too_few():
            share = Estimate(
                "unanswered", rates.category, 1 - rates.answered, math.nan, math.nan, rates.n_items
            )
            checks.append(Check(share, floor, FAIL))
    return checks


def _answers(dense: Measured, candidate: Measured, same: bool) -> list[Estimate]:
    """Worsening of everything that answers tell."""
    run, available = candidate.run, dict(candidate.available)
    if available:
        available[OVERALL] = sum(available.values())
    items = {rates.category: rates.n_items - rates.n_without_target for rates in run.rates.categories}
    items[OVERALL] = sum(items.values())
    (comparison,) = compare(_side_by_side(dense.run, run))

    def estimate(measure: str, scope: str, change: Change, factor: float = 1) -> Estimate:
        value, low, high = _worsening(change, factor, items[scope], same)
        return Estimate(measure, scope, value, low, high, items[scope], available=available.get(scope))

    found = []
    for scope, change in comparison.changes.items():
        if comparable((dense.run.rates.get(scope), run.rates.get(scope))):
            measure = "srs_rise" if scope == OVERALL else "category_srs_rise"
            found.append(estimate(measure, scope, change.srs))
    emergence = comparison.emergence
    # From probabilities only where the letters have most of them.
    if emergence.fresh is not None:
        found.append(estimate("expected_srs_rise", OVERALL, comparison.overall.expected))
    # The abstention part of SRS is half the loss of USR.
    found.append(estimate("usr_drop", OVERALL, comparison.overall.abstention, 2))
    # How many of the items that are left would be unbiased is not known before they are asked.
    unbiased = emergence.unbiased_items
    excess = _worsening(emergence.excess.change, 1, unbiased, same)
    return [*found, Estimate("emergence_excess", OVERALL, *excess, unbiased)]


def _groups(dense: Measured, candidate: Measured, same: bool) -> tuple[list[Estimate], tuple[str, ...]]:
    def worsening(change: Change, items: int) -> tuple[float, float, float]:
        return _worsening(change, 1, items, same)

    outcomes = _side_by_side(dense.run, candidate.run)
    return group_estimates(outcomes, candidate.groups(), MIN_ANSWERED, worsening)


def _side_by_side(dense: RunData, candidate: RunData) -> Outcomes:
    """The two as the configurations of one model, whatever they are called."""
    names = (Configuration("model"), Configuration("model", "candidate"))
    runs = zip((dense, candidate), names, strict=True)
    return assemble([replace(run.outcomes, configuration=name) for run, name in runs])


def _worsening(change: Change, factor: float, items: int, same: bool) -> tuple[float, float, float]:
    """Value and ends of the interval of a change of rates of so many items."""
    value, low, high = (factor * end for end in (change.value, change.low, change.high))
    if same:
        return 0.0, 0.0, 0.0
    if value == 0 and math.isnan(low):
        # No answer changed, so no interval over templates can be had.
        bound = unmoved_bound(items)
        return value, -bound, bound
    return value, low, high


def _perplexity(dense: Measured, candidate: Measured, same: bool) -> list[Estimate]:
    """Relative rise of perplexity, paired by sequence where both models' sequences are known.

    Raises:
        RecordsError: They are known, and are not the same.
    """
    before, after = dense.perplexity, candidate.perplexity
    if before is None or after is None:
        return []
    estimate = Estimate("perplexity_rise", "text", 0.0, 0.0, 0.0, min(before.tokens, after.tokens), "tokens")
    if same:
        return [estimate]
    if math.isinf(after.value) or math.isinf(before.value):
        rise = math.inf if math.isinf(after.value) else -1.0
        return [replace(estimate, value=rise, low=rise, high=rise)]
    if before.sequence_nll and after.sequence_nll:
        ratio = paired_ratio(before, after)
        if ratio is None:
            raise RecordsError(
                f"the perplexities of {dense.name} and {candidate.name} are of different texts; measure both "
                "on one."
            )
        note = f"paired over {ratio.sequences:,} sequences"
    else:
        ratio = independent_ratio(before, after)
        note = "not paired: losses by sequence are not recorded; measure again for a narrower interval"
    value, low, high = (relative(end) for end in (ratio.log, ratio.low, ratio.high))
    return [replace(estimate, value=value, low=low, high=high, note=note)]


def _distance(candidate: Measured, same: bool) -> list[Estimate]:
    """How far its predictions are from the dense model's; each a worsening by its size."""
    found = candidate.divergence
    if found is None:
        return []
    note = f"over {found.sequences:,} sequences"
    kl = Estimate("kl", "text", found.kl, found.kl_low, found.kl_high, found.tokens, "tokens", note=note)
    other = replace(
        kl,
        measure="other_top",
        value=1 - found.same_top,
        low=1 - found.same_top_high,
        high=1 - found.same_top_low,
    )
    if same:
        return [replace(one, low=one.value, high=one.value) for one in (kl, other)]
    if math.isinf(found.kl):
        kl = replace(kl, low=found.kl, high=found.kl)
    return [kl, other]
