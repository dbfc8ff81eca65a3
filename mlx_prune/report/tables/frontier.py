"""What each configuration bought and what it cost, and which of them nothing dominates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from mlx_prune.configuration import Configuration
from mlx_prune.kinds import keeps_form
from mlx_prune.latency.settings import MARGIN
from mlx_prune.latency.verdict import DRIFT_LIMIT, SAME
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.change import Direction, Emergence
from mlx_prune.report.tables.latency import LatencyRatio
from mlx_prune.report.tables.rows import Rated, rated
from mlx_prune.report.tables.table import About, Interval, Table, column
from mlx_prune.stats.compare import overall_changes
from mlx_prune.stats.dominance import Cost, criteria_in_use, dominance
from mlx_prune.stats.levels import CONFIDENCE
from mlx_prune.stats.outcomes import ANTI, STEREOTYPED
from mlx_prune.stats.perplexity import relative
from mlx_prune.stats.rates import OVERALL

CRITERIA = ("size", "latency", "perplexity", "bias")
UNDOMINATED, DOMINATED, NOT_JUDGED = "undominated", "dominated", "not judged"
# Headers of weight files differ by some bytes; this much of a size is no difference.
_SAME_SIZE = 0.0025
# Each of two times is widened by half of what makes no difference between them.
_HALF_MARGIN = math.sqrt(1 + MARGIN)

RULE = (
    "One configuration dominates another if no criterion shows it worse and at least one shows it better. "
    "Criteria are size on disk, time of an answer, and the rises of perplexity and of SRS - anti above dense "
    "(a fall counts as no rise: compression is not there to lower perplexity, and a model that guesses has "
    "no direction either). Of each criterion the intervals of all configurations of the study hold at once "
    "with 95 % confidence. Overlapping intervals are a tie, and so are sizes within half a percent and times "
    "within 5 %. Zeros alone change neither shapes nor types, so their time is the dense model's whatever "
    "was measured; the measured ratio stands in the table latency_ratios."
)


@dataclass(frozen=True, kw_only=True)
class Frontier(Rated):
    """One configuration: what it bought, what it cost, and where it stands."""

    about = About(
        "frontier",
        "What was bought, and at what price",
        "size_ratio and latency_ratio: relative to dense. direction_change: of SRS - anti from dense, paired "
        "and clustered by template; emergence_excess: share of unbiased items that become biased, above "
        f"what the dense model does when asked afresh. {RULE}",
    )

    size_bytes: int | None
    size_ratio: float | None = column("size on disk relative to dense")
    bits_per_weight: float | None = column("bits on disk over parameters, of the whole model", default=None)
    latency: Interval = column(
        "time of an answer relative to dense", names=("latency_ratio", "latency_low", "latency_high")
    )
    latency_verdict: str | None = column("as in `latency_ratios`; same where nothing could make a difference")
    perplexity: Interval
    srs: float | None
    usr: float | None
    anti_rate: float | None
    direction_change: Interval = column("change of SRS - anti from dense")
    q_direction: float | None = column("of no directional part, adjusted; as in `direction`")
    emergence_excess: Interval = column("share of unbiased items that become biased, above the dense model's")
    p_emergence: float | None = column("of no excess")
    emergence_from: str | None = column("whether fresh answers or held-out answers tell it")
    standing: str = column("undominated, dominated or not judged", default=NOT_JUDGED)
    dominated_by: str | None = column("what dominates it and is not dominated itself", default=None)

    @classmethod
    def of_tables(
        cls,
        data: StudyData,
        direction: Table[Direction],
        emergence: Table[Emergence],
        latency: Table[LatencyRatio],
    ) -> Iterator[Frontier]:
        """Every configuration of the models that have a dense and at least one compressed one.

        A criterion that was measured for no configuration of a model is left out for that model; a
        configuration that lacks one which others have is not judged. See :mod:`mlx_prune.stats.dominance`.

        Args:
            data: The study.
            direction: Its table of that name, like the next.
            emergence: Of items that become biased.
            latency: Its table ``latency_ratios``.
        """
        directions = {row.configuration: row for row in direction.rows if row.category == OVERALL}
        emergences = {row.configuration: row for row in emergence.rows}
        for outcomes in data.paired:
            model = outcomes.configurations[0].model
            times = {row.configuration: row for row in latency.rows if row.configuration.model == model}
            yield from _standing(list(_model_rows(data, model, times, directions, emergences)))


def _model_rows(
    data: StudyData,
    model: str,
    times: Mapping[Configuration, LatencyRatio],
    directions: Mapping[Configuration, Direction],
    emergences: Mapping[Configuration, Emergence],
) -> Iterator[Frontier]:
    changes = _direction_changes(data, model)
    for name in data.models[model].configurations:
        size, before = data.size_bytes.get(name), data.size_bytes.get(name.dense)
        overall = data.rates(name, OVERALL)
        assert overall is not None
        ratio = size / before if size is not None and before else None
        yield Frontier(
            **rated(data, name),
            size_bytes=None if size is None else int(size),
            size_ratio=ratio,
            bits_per_weight=data.bits_per_weight.get(name),
            **_latency(name, ratio, times.get(name), timed=bool(times)),
            perplexity=_perplexity(data, name),
            srs=overall.srs,
            usr=overall.usr,
            anti_rate=overall.anti_rate,
            direction_change=Interval(0.0, 0.0, 0.0) if name.is_dense else changes[name],
            q_direction=directions[name].q_direction if name in directions else None,
            **_emergence(emergences.get(name)),
        )


def _standing(rows: Sequence[Frontier]) -> Iterator[Frontier]:
    """The rows of one model, each with what dominates it."""
    labels = [row.configuration.name for row in rows]
    found = dominance(criteria(rows))
    for row, one in zip(rows, found, strict=True):
        # Those that are dominated themselves add nothing where there are others.
        above = [place for place in one.by if found[place].undominated] or one.by
        standing = UNDOMINATED if one.undominated else DOMINATED if one.judged else NOT_JUDGED
        by = ", ".join(labels[place] for place in above) or None
        yield replace(row, standing=standing, dominated_by=by)


def _latency(
    name: Configuration, size_ratio: float | None, row: LatencyRatio | None, *, timed: bool
) -> dict[str, Any]:
    """Ratio, interval and verdict; those of the dense model where nothing could make a difference."""
    alike = size_ratio is None or abs(size_ratio - 1) <= 2 * _SAME_SIZE
    if keeps_form(name.prune_method) and alike:
        verdict = None if name.is_dense or not timed else SAME
        return {"latency": Interval(1.0, 1.0, 1.0) if timed else Interval(), "latency_verdict": verdict}
    if row is None:
        return {"latency": Interval(), "latency_verdict": None}
    # A run that drifted settles nothing: its time may be anything, and ties with every other.
    drifted = abs(row.drift or 0.0) > DRIFT_LIMIT
    ratio = Interval(row.ratio.value, 0.0, math.inf) if drifted else row.ratio
    return {"latency": ratio, "latency_verdict": row.verdict}


def _perplexity(data: StudyData, name: Configuration) -> Interval:
    """The figure, with an interval that holds together with those of all other configurations.

    Paired by sequence it is that of the rise above dense, whose own figure is then exact: on one text, what
    is hard for one model is hard for the other.
    """
    family = sum(data.perplexity_ratio(one) is not None for one in data.perplexity if not one.is_dense)
    base = data.perplexity.get(name.dense)
    if name.is_dense and base is not None:
        others = data.models[name.model].configurations[1:]
        if any(data.perplexity_ratio(other) is not None for other in others):
            return Interval(base, base, base)
    elif base is not None:
        ratio = data.perplexity_ratio(name, 1 - (1 - CONFIDENCE) / max(family, 1))
        if ratio is not None and not math.isnan(ratio.low):
            ends = [base * (1 + relative(end)) for end in (ratio.low, ratio.high)]
            return Interval(data.perplexity.get(name), *ends)
    low, high = data.perplexity_interval.get(name, (None, None))
    value = data.perplexity.get(name, low)
    if low is not None and high is not None and math.isfinite(high):
        known = sum(math.isfinite(end) for _, end in data.perplexity_interval.values())
        # Both are normal on the log scale, so the wider one is the narrower one to a power.
        power = _normal_point(known) / _normal_point(1)
        middle = math.sqrt(low * high)
        low, high = middle * (low / middle) ** power, middle * (high / middle) ** power
    return Interval(value, low, high)


def _normal_point(family: int) -> float:
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * family))


def _direction_changes(data: StudyData, model: str) -> dict[Configuration, Interval]:
    """Change of SRS - anti from dense, its intervals holding together with those of the whole study."""
    outcomes = data.models[model]
    every = [name for o in data.models.values() if o.dense is not None for name in o.configurations[1:]]
    family = sum(data.compared(name, OVERALL) for name in every)
    direction = outcomes.counts(STEREOTYPED) - outcomes.counts(ANTI)
    level = 1 - (1 - CONFIDENCE) / max(family, 1)
    changes = overall_changes(outcomes, direction, outcomes.parsed(), level)
    return {
        name: Interval.of(change) if data.compared(name, OVERALL) else Interval()
        for name, change in zip(outcomes.configurations[1:], changes, strict=True)
    }


def _emergence(row: Emergence | None) -> dict[str, Any]:
    """From option probabilities where these predict answers, else from answers under a held-out seed."""
    if row is None:
        return {"emergence_excess": Interval(), "p_emergence": None, "emergence_from": None}
    if row.excess.value is not None:
        return {
            "emergence_excess": row.excess,
            "p_emergence": row.p_excess,
            "emergence_from": "fresh answers",
        }
    return {
        "emergence_excess": row.held_out_excess,
        "p_emergence": row.p_held_out,
        "emergence_from": "held-out answers",
    }


def criteria(rows: Sequence[Frontier]) -> list[tuple[Cost | None, ...]]:
    """The criteria of one model's rows, each in the order of :data:`CRITERIA`.

    None for what was not measured, and for the dense model where no other configuration has the criterion. A
    time without an interval is taken as not measured.
    """
    dense = next((row for row in rows if row.configuration.is_dense), None)
    found = [_costs(row, dense) for row in rows]
    compressed = [costs for row, costs in zip(rows, found, strict=True) if not row.configuration.is_dense]
    used = criteria_in_use(compressed)
    return [tuple(cost if use else None for cost, use in zip(one, used, strict=True)) for one in found]


def _costs(row: Frontier, dense: Frontier | None) -> tuple[Cost | None, ...]:
    size = row.size_ratio
    return (
        None if size is None else Cost(size * (1 - _SAME_SIZE), size * (1 + _SAME_SIZE)),
        _widened(_cost(row.latency), _HALF_MARGIN),
        _rise(_cost(row.perplexity), None if dense is None else _cost(dense.perplexity)),
        _rise(_cost(row.direction_change), Cost(0.0, 0.0)),
    )


def _widened(cost: Cost | None, factor: float) -> Cost | None:
    return None if cost is None else Cost(cost.low / factor, cost.high * factor)


def _rise(cost: Cost | None, dense: Cost | None) -> Cost | None:
    """A cost that is at least the dense model's."""
    if cost is None or dense is None:
        return cost
    return Cost(max(cost.low, dense.low), max(cost.high, dense.high))


def _cost(interval: Interval) -> Cost | None:
    """An interval as a cost; its ends may be infinite."""
    if interval.low is None or interval.high is None:
        return None
    return Cost(interval.low, interval.high)
