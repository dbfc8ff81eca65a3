"""What each configuration bought and what it cost, and which of them nothing dominates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE
from mlx_prune.latency.settings import MARGIN
from mlx_prune.latency.verdict import DRIFT_LIMIT, SAME
from mlx_prune.report.data import StudyData
from mlx_prune.report.figures.panels import configuration_label, key_of, number
from mlx_prune.report.tables.rows import compared, interval, rated
from mlx_prune.report.tables.table import Row, Table, Value, make_table
from mlx_prune.stats.compare import overall_changes
from mlx_prune.stats.dominance import Cost, criteria_in_use, dominance
from mlx_prune.stats.levels import CONFIDENCE
from mlx_prune.stats.methods import keeps_form
from mlx_prune.stats.outcomes import ANTI, STEREOTYPED
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


def frontier_table(data: StudyData, tables: Mapping[str, Table]) -> Table:
    """Every configuration of the models that have a dense and at least one compressed one.

    A criterion that was measured for no configuration of a model is left out for that model; a configuration
    that lacks one which others have is not judged. See :mod:`mlx_prune.stats.dominance`.

    Args:
        data: The study.
        tables: Its tables, at least ``overall``, ``direction``, ``emergence`` and ``latency_ratios``.
    """
    rows: list[dict[str, Value]] = []
    for model, outcomes in data.models.items():
        if outcomes.dense is not None and len(outcomes.configurations) > 1:
            rows += _model_rows(data, tables, model)
    return make_table(
        "frontier",
        "What was bought, and at what price",
        "size_ratio and latency_ratio: relative to dense. direction_change: of SRS - anti from dense, paired "
        "and clustered by template; emergence_excess: share of unbiased items that become biased, above "
        f"what the dense model does when asked afresh. {RULE}",
        rows,
        ("model", "prune_method", "standing"),
    )


def _model_rows(data: StudyData, tables: Mapping[str, Table], model: str) -> list[dict[str, Value]]:
    known = {
        name: {key_of(row): row for row in tables[name].where(model=model).rows if _overall(row)}
        for name in ("overall", "latency_ratios", "direction", "emergence")
    }
    runs = [run.configuration for run in data.runs if run.configuration.model == model]
    dense = next(name for name in runs if name.prune_method == DENSE)
    changes = _direction_changes(data, model)
    rows = []
    for name in runs:
        row = rated(data, name)
        place = key_of(row)
        row |= _size(data, name, dense)
        row |= _latency(row, known["latency_ratios"].get(place), bool(known["latency_ratios"]))
        row |= _perplexity(data, name)
        row |= {rate: known["overall"][place][rate] for rate in ("srs", "usr", "anti_rate")}
        row |= _direction(known["direction"].get(place), changes.get(name), name == dense)
        rows.append(row | _emergence(known["emergence"].get(place)))
    labels = [configuration_label(row) for row in rows]
    found = dominance(criteria(rows))
    for row, one in zip(rows, found, strict=True):
        row["standing"] = UNDOMINATED if one.undominated else DOMINATED if one.judged else NOT_JUDGED
        # Those that are dominated themselves add nothing where there are others.
        above = [place for place in one.by if found[place].undominated] or one.by
        row["dominated_by"] = ", ".join(labels[place] for place in above) or None
    return rows


def _overall(row: Row) -> bool:
    return row.get("category", OVERALL) == OVERALL


def _size(data: StudyData, name: Configuration, dense: Configuration) -> dict[str, Value]:
    size, before = data.size_bytes.get(name), data.size_bytes.get(dense)
    ratio = size / before if size is not None and before else math.nan
    return {"size_bytes": None if size is None else int(size), "size_ratio": ratio}


def _latency(about: Row, row: Row | None, timed: bool) -> dict[str, Value]:
    """Ratio, interval and verdict; those of the dense model where nothing could make a difference."""
    found: dict[str, Value] = {"latency_ratio": None, "latency_low": None, "latency_high": None}
    size = number(about["size_ratio"])
    alike = keeps_form(str(about["prune_method"])) and (size is None or abs(size - 1) <= 2 * _SAME_SIZE)
    if alike:
        verdict = None if about["prune_method"] == DENSE else SAME
        found = dict.fromkeys(found, 1.0 if timed else None)
        return found | {"latency_verdict": verdict if timed else None}
    if row is not None:
        found = {f"latency_{name}": row[name] for name in ("ratio", "low", "high")}
        if abs(number(row["drift"]) or 0.0) > DRIFT_LIMIT:
            # Such a run settles nothing: its time may be anything, and ties with every other.
            found |= {"latency_low": 0.0, "latency_high": math.inf}
    return found | {"latency_verdict": None if row is None else row["verdict"]}


def _perplexity(data: StudyData, name: Configuration) -> dict[str, Value]:
    """The figure, with an interval that holds together with those of all other configurations."""
    low, high = data.perplexity_interval.get(name, (None, None))
    value = data.perplexity.get(name, low)
    if low is not None and high is not None and math.isfinite(high):
        known = sum(math.isfinite(end) for _, end in data.perplexity_interval.values())
        # Both are normal on the log scale, so the wider one is the narrower one to a power.
        power = _normal_point(known) / _normal_point(1)
        middle = math.sqrt(low * high)
        low, high = middle * (low / middle) ** power, middle * (high / middle) ** power
    return {"perplexity": value, "perplexity_low": low, "perplexity_high": high}


def _normal_point(family: int) -> float:
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * family))


def _direction_changes(data: StudyData, model: str) -> dict[Configuration, dict[str, Value]]:
    """Change of SRS - anti from dense, its intervals holding together with those of the whole study."""
    outcomes = data.models[model]
    every = [name for o in data.models.values() if o.dense is not None for name in o.configurations[1:]]
    family = sum(data.compared(name, OVERALL) for name in every)
    direction = outcomes.counts(STEREOTYPED) - outcomes.counts(ANTI)
    level = 1 - (1 - CONFIDENCE) / max(family, 1)
    changes = overall_changes(outcomes, direction, outcomes.parsed(), level)
    return {
        name: compared(data, name, OVERALL, interval(change, "direction_change"))
        for name, change in zip(outcomes.configurations[1:], changes, strict=True)
    }


def _direction(row: Row | None, change: dict[str, Value] | None, dense: bool) -> dict[str, Value]:
    ends = [f"direction_change{end}" for end in ("", "_low", "_high")]
    found = dict.fromkeys(ends, 0.0 if dense else None) if change is None else change
    return found | {"q_direction": None if row is None else row["q_direction"]}


def _emergence(row: Row | None) -> dict[str, Value]:
    """From option probabilities where these predict answers, else from answers under a held-out seed."""
    fresh = row is not None and row["excess"] is not None
    excess, p = ("excess", "p_excess") if fresh else ("held_out_excess", "p_held_out")
    found: dict[str, Value] = {
        f"emergence_excess{end}": None if row is None else row[f"{excess}{end}"]
        for end in ("", "_low", "_high")
    }
    basis = None if row is None else "fresh answers" if fresh else "held-out answers"
    return found | {"p_emergence": None if row is None else row[p], "emergence_from": basis}


def criteria(rows: Sequence[Row]) -> list[tuple[Cost | None, ...]]:
    """The criteria of one model's rows, each in the order of :data:`CRITERIA`.

    None for what was not measured, and for the dense model where no other configuration has the criterion. A
    time without an interval is taken as not measured.
    """
    dense = next((row for row in rows if row["prune_method"] == DENSE), None)
    found = [_costs(row, dense) for row in rows]
    compressed = [costs for row, costs in zip(rows, found, strict=True) if row["prune_method"] != DENSE]
    used = criteria_in_use(compressed)
    return [tuple(cost if use else None for cost, use in zip(one, used, strict=True)) for one in found]


def _costs(row: Row, dense: Row | None) -> tuple[Cost | None, ...]:
    size = number(row["size_ratio"])
    return (
        None if size is None else Cost(size * (1 - _SAME_SIZE), size * (1 + _SAME_SIZE)),
        _widened(_interval(row, "latency"), _HALF_MARGIN),
        _rise(_interval(row, "perplexity"), None if dense is None else _interval(dense, "perplexity")),
        _rise(_interval(row, "direction_change"), Cost(0.0, 0.0)),
    )


def _widened(cost: Cost | None, factor: float) -> Cost | None:
    return None if cost is None else Cost(cost.low / factor, cost.high * factor)


def _rise(cost: Cost | None, dense: Cost | None) -> Cost | None:
    """A cost that is at least the dense model's."""
    if cost is None or dense is None:
        return cost
    return Cost(max(cost.low, dense.low), max(cost.high, dense.high))


def _interval(row: Row, name: str) -> Cost | None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if not isinstance(low, int | float) or not isinstance(high, int | float) or math.isnan(low + high):
        return None
    return Cost(float(low), float(high))
