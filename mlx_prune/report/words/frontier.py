"""Which configurations nothing dominates, and what pruning changed beside quantization, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlx_prune import words
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.changing import MEASURED, PRUNING, QUANTIZATION, REPORTED, Changing
from mlx_prune.report.tables.frontier import CRITERIA, DOMINATED, NOT_JUDGED, UNDOMINATED, Frontier, criteria
from mlx_prune.report.tables.rows import by_model
from mlx_prune.report.tables.table import Interval
from mlx_prune.stats.dominance import criteria_in_use

_WORDS = dict(zip(CRITERIA, ("size", "time of an answer", "perplexity", "directional bias"), strict=True))
# Longer lists are cut; the table has all.
_MOST_NAMES = 8


def undominated_sentences(tables: Tables) -> list[str]:
    """One sentence per model that names what nothing dominates, and the criteria that decided."""
    return [_undominated(rows, model) for model, rows in by_model(tables.frontier.rows).items()]


def frontier_sentences(tables: Tables) -> list[str]:
    """Per model: what nothing dominates, what dominates the rest, and what could not be judged."""
    return [
        " ".join(filter(None, (_undominated(rows, model), _rest(rows), _not_judged(rows))))
        for model, rows in by_model(tables.frontier.rows).items()
    ]


def changing_sentence(tables: Tables) -> str:
    """Pruning beside quantization on the same definitions; empty unless both were measured."""
    rows = tables.items_changing.where(kind=MEASURED, too_few_answered=False).rows
    pruned, quantized = ([row for row in rows if row.compression == c] for c in (PRUNING, QUANTIZATION))
    if not pruned or not quantized:
        return ""
    became = [_range([row.became_biased.value for row in part]) for part in (pruned, quantized)]
    flipped = [_range([row.flipped.value for row in part]) for part in (pruned, quantized)]
    return (
        f"Under pruning {became[0]} of the items without a stereotyped dense answer got at least one, under "
        f"quantization alone {became[1]}; of single answers {flipped[0]} and {flipped[1]} changed between "
        "stereotyped and not."
    )


def reported_sentence(tables: Tables) -> str:
    """The published figures that are set against each other, and why they do not compare."""
    rows = tables.items_changing.where(kind=REPORTED).rows
    if not rows:
        return ""
    items = [_reported(row, row.became_biased) for row in rows if row.became_biased.high]
    answers = [_reported(row, row.flipped) for row in rows if row.flipped.high]
    return (
        f"Others report, of their models: {words.names(items)} of unbiased items that became biased, and "
        f"{words.names(answers)} of single answers that changed in either direction. The pruning study sets "
        "its figure of the first kind against one of the second."
    )


def reported_name(row: Changing) -> str:
    """What others call a configuration of theirs."""
    name = row.configuration
    return (
        f"{name.prune_method} {words.percentage(name.sparsity, None)}" if name.sparsity else name.prune_method
    )


def _reported(row: Changing, share: Interval) -> str:
    high = share.high or 0.0
    told = words.percents(high if share.low is None else share.low, high)
    return f"{'up to ' * (share.low is None)}{told} ({reported_name(row)})"


def _range(shares: Sequence[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return words.percents(min(known), max(known)) if known else words.NONE


def _undominated(rows: Sequence[Frontier], model: str) -> str:
    used = dict(zip(CRITERIA, criteria_in_use(criteria(rows)), strict=True))
    missing = [_WORDS[name] for name in CRITERIA if not used[name]]
    found = [row for row in rows if row.standing == UNDOMINATED]
    judged = sum(row.standing != NOT_JUDGED for row in rows)
    among = f"{judged} versions of {model}"
    if judged < len(rows):
        among += " that could be judged"
    if judged < 2:
        return f"No two versions of {model} have all the measures that were taken, so none can be weighed."
    measures = words.names([_WORDS[name] for name in CRITERIA if used[name]])
    if missing:
        measures += f" ({words.names(missing)} {'was' if len(missing) == 1 else 'were'} not measured)"
    if all(row.configuration.is_dense for row in found):
        return f"Among the {among}, only the dense one is undominated in {measures}."
    labels = ["the dense one" if row.configuration.is_dense else row.configuration.name for row in found]
    best = words.names(labels, "or", _MOST_NAMES)
    return f"Among the {among}, nothing dominates {best} in {measures}."


def _rest(rows: Sequence[Frontier]) -> str:
    """What dominates the rest, each named once, under the one that dominates most of them."""
    left = {
        row.configuration.name: (row.dominated_by or "").split(", ")
        for row in rows
        if row.standing == DOMINATED
    }
    parts = []
    while left:
        ((first, _),) = Counter(name for names in left.values() for name in names).most_common(1)
        mine = [label for label, names in left.items() if first in names]
        parts.append(f"by {first}: {words.names(mine, most=_MOST_NAMES)}")
        left = {label: names for label, names in left.items() if label not in mine}
    return f"The rest is dominated, {'; '.join(parts)}." if parts else ""


def _not_judged(rows: Sequence[Frontier]) -> str:
    left = [row for row in rows if row.standing == NOT_JUDGED]
    sentences = []
    for few, what in ((False, "a measure"), (True, "answers that were understood")):
        found = [row.configuration.name for row in left if row.too_few_answered == few]
        if found:
            sentences.append(f"Not judged, for want of {what}: {words.names(found, most=_MOST_NAMES)}.")
    return " ".join(sentences)
