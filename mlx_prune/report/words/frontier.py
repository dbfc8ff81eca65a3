"""Which configurations nothing dominates, and what pruning changed beside quantization, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_prune.labels import DENSE
from mlx_prune.report.figures.panels import Tables, configuration_label, distinct, number
from mlx_prune.report.tables.changing import MEASURED, PRUNING, QUANTIZATION, REPORTED
from mlx_prune.report.tables.frontier import CRITERIA, DOMINATED, NOT_JUDGED, UNDOMINATED, Frontier, criteria
from mlx_prune.report.tables.table import Row
from mlx_prune.stats.dominance import criteria_in_use

_WORDS = dict(zip(CRITERIA, ("size", "time of an answer", "perplexity", "directional bias"), strict=True))
# Longer lists are cut; the table has all.
_MOST_NAMES = 8


def undominated_sentences(tables: Tables) -> list[str]:
    """One sentence per model that names what nothing dominates, and the criteria that decided."""
    return [_undominated(rows, model) for model, rows in _by_model(tables)]


def frontier_sentences(tables: Tables) -> list[str]:
    """Per model: what nothing dominates, what dominates the rest, and what could not be judged."""
    return [
        " ".join(filter(None, (_undominated(rows, model), _rest(rows), _not_judged(rows))))
        for model, rows in _by_model(tables)
    ]


def changing_sentence(tables: Tables) -> str:
    """Pruning beside quantization on the same definitions; empty unless both were measured."""
    rows = tables["items_changing"].where(kind=MEASURED, too_few_answered=False).rows
    pruned, quantized = ([row for row in rows if row["compression"] == c] for c in (PRUNING, QUANTIZATION))
    if not pruned or not quantized:
        return ""
    became, flipped = (
        [_percent_range(part, column) for part in (pruned, quantized)]
        for column in ("became_biased", "flipped")
    )
    return (
        f"Under pruning {became[0]} of the items without a stereotyped dense answer got at least one, under "
        f"quantization alone {became[1]}; of single answers {flipped[0]} and {flipped[1]} changed between "
        "stereotyped and not."
    )


def reported_sentence(tables: Tables) -> str:
    """The published figures that are set against each other, and why they do not compare."""
    rows = tables["items_changing"].where(kind=REPORTED).rows
    if not rows:
        return ""
    items, answers = (
        [f"{_reported_range(row, column)} ({_reported_name(row)})" for row in rows if row[f"{column}_high"]]
        for column in ("became_biased", "flipped")
    )
    return (
        f"Others report, of their models: {_listed(items)} of unbiased items that became biased, and "
        f"{_listed(answers)} of single answers that changed in either direction. The pruning study sets its "
        "figure of the first kind against one of the second."
    )


def _reported_name(row: Row) -> str:
    return f"{row['prune_method']} {row['sparsity']:g} %" if row["sparsity"] else str(row["prune_method"])


def _reported_range(row: Row, column: str) -> str:
    low, high = number(row[f"{column}_low"]), number(row[f"{column}_high"])
    return f"up to {_percent(high)} %" if low is None else f"{_percent(low)} to {_percent(high)} %"


def _by_model(tables: Tables) -> list[tuple[str, tuple[Frontier, ...]]]:
    table = tables["frontier"]
    return [(model, table.where(model=model).rows) for model in distinct(table, "model")]


def _undominated(rows: Sequence[Frontier], model: str) -> str:
    used = dict(zip(CRITERIA, criteria_in_use(criteria(rows)), strict=True))
    missing = [_WORDS[name] for name in CRITERIA if not used[name]]
    names = [_WORDS[name] for name in CRITERIA if used[name]]
    found = [row for row in rows if row["standing"] == UNDOMINATED]
    compressed = [row for row in found if row["prune_method"] != DENSE]
    judged = sum(row["standing"] != NOT_JUDGED for row in rows)
    without = (
        f" ({_listed(missing)} {'was' if len(missing) == 1 else 'were'} not measured)" if missing else ""
    )
    measures = f"{_listed(names)}{without}"
    if judged < 2:
        return f"No two versions of {model} have all the measures that were taken, so none can be weighed."
    if not compressed:
        return f"Among the {judged} versions of {model}, only the dense one is undominated in {measures}."
    labels = ["the dense one" if row["prune_method"] == DENSE else configuration_label(row) for row in found]
    return f"Among the {judged} versions of {model}, nothing dominates {_either(labels)} in {measures}."


def _rest(rows: Sequence[Row]) -> str:
    """What dominates the rest, each named once, under the one that dominates most of them."""
    left = {configuration_label(row): _dominators(row) for row in rows if row["standing"] == DOMINATED}
    parts = []
    while left:
        counts: dict[str, int] = {}
        for name in (name for names in left.values() for name in names):
            counts[name] = counts.get(name, 0) + 1
        first = max(counts, key=lambda name: counts[name])
        mine = [label for label, names in left.items() if first in names]
        parts.append(f"by {first}: {_listed(mine, _MOST_NAMES)}")
        left = {label: names for label, names in left.items() if label not in mine}
    return f"The rest is dominated, {'; '.join(parts)}." if parts else ""


def _dominators(row: Row) -> list[str]:
    return str(row["dominated_by"]).split(", ")


def _not_judged(rows: Sequence[Row]) -> str:
    left = [row for row in rows if row["standing"] == NOT_JUDGED]
    sentences = []
    for few, what in ((False, "a measure"), (True, "answers that were understood")):
        names = [configuration_label(row) for row in left if row["too_few_answered"] == few]
        if names:
            sentences.append(f"Not judged, for want of {what}: {_listed(names, _MOST_NAMES)}.")
    return " ".join(sentences)


def _listed(names: Sequence[str], most: int = 99, word: str = "and") -> str:
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _either(names: Sequence[str]) -> str:
    return _listed(names, _MOST_NAMES, "or")


def _percent_range(rows: Sequence[Row], column: str) -> str:
    values = [value for row in rows if (value := number(row[column])) is not None]
    if not values:
        return "-"
    low, high = _percent(min(values)), _percent(max(values))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g}"
