"""What each configuration bought and what it cost, and which of them nothing dominates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlx_prune.measures.dominance import Cost, criteria_in_use, dominance
from mlx_prune.measures.outcomes import DENSE, Configuration
from mlx_prune.report.panels import configuration_label, key_of, number
from mlx_prune.report.rows import OVERALL, key
from mlx_prune.report.study_data import StudyData
from mlx_prune.report.table import Row, Table, Value, make_table

CRITERIA = ("size", "latency", "perplexity", "bias")
UNDOMINATED, DOMINATED, NOT_JUDGED = "undominated", "dominated", "not judged"
# Headers of weight files differ by some bytes; this much of a size is no difference.
_SAME_SIZE = 0.0025
_SAME = "same"

RULE = (
    "One configuration dominates another if no criterion shows it worse and at least one shows it better. "
    "Criteria are size on disk, time of an answer, perplexity, and the rise of SRS - anti above dense (a "
    "fall counts as no rise: a model that guesses has no direction either). Overlapping 95 % intervals are a "
    "tie, and so are sizes within half a percent and times that were found the same as dense."
)


def frontier_table(data: StudyData, tables: Mapping[str, Table]) -> Table:
    """Every configuration of the models that have a dense and at least one compressed one.

    A criterion that was measured for no configuration of a model is left out for that model; a configuration
    that lacks one which others have is not judged. See :mod:`mlx_prune.measures.dominance`.

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
    rows = []
    for name in runs:
        row = key(data, name)
        place = key_of(row)
        row |= _size(data, name, dense)
        row |= _latency(known["latency_ratios"].get(place), name == dense, bool(known["latency_ratios"]))
        row |= _perplexity(data, name)
        row |= {rate: known["overall"][place][rate] for rate in ("srs", "usr", "anti_rate")}
        row |= _direction(known["direction"].get(place), name == dense)
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


def _latency(row: Row | None, dense: bool, timed: bool) -> dict[str, Value]:
    names = ("ratio", "low", "high")
    found: dict[str, Value] = {}
    for name in names:
        found[f"latency_{name}"] = (1.0 if timed else None) if dense else None if row is None else row[name]
    return found | {"latency_verdict": None if row is None else row["verdict"]}


def _perplexity(data: StudyData, name: Configuration) -> dict[str, Value]:
    low, high = data.perplexity_interval.get(name, (None, None))
    return {"perplexity": data.perplexity.get(name, low), "perplexity_low": low, "perplexity_high": high}


def _direction(row: Row | None, dense: bool) -> dict[str, Value]:
    """Change of SRS - anti, which is twice the directional part of the change of SRS."""
    found: dict[str, Value] = {}
    for end in ("", "_low", "_high"):
        part = None if row is None else number(row[f"direction_part{end}"])
        found[f"direction_change{end}"] = 0.0 if dense else None if part is None else 2 * part
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
    found = [_costs(row) for row in rows]
    compressed = [costs for row, costs in zip(rows, found, strict=True) if row["prune_method"] != DENSE]
    used = criteria_in_use(compressed)
    return [tuple(cost if use else None for cost, use in zip(one, used, strict=True)) for one in found]


def _costs(row: Row) -> tuple[Cost | None, ...]:
    size = number(row["size_ratio"])
    same = row["prune_method"] == DENSE or row["latency_verdict"] == _SAME
    rise = _interval(row, "direction_change")
    return (
        None if size is None else Cost(size * (1 - _SAME_SIZE), size * (1 + _SAME_SIZE)),
        Cost(1.0, 1.0) if same and row["latency_ratio"] is not None else _interval(row, "latency"),
        _interval(row, "perplexity"),
        None if rise is None else Cost(max(rise.low, 0.0), max(rise.high, 0.0)),
    )


def _interval(row: Row, name: str) -> Cost | None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if not isinstance(low, int | float) or not isinstance(high, int | float) or math.isnan(low + high):
        return None
    return Cost(float(low), float(high))
