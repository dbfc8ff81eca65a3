"""The finding of a study in a paragraph, computed from its tables; it claims no more than they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE, known_label, leaves_dose
from mlx_prune.report.figures.panels import Tables, key_of, name_of, number
from mlx_prune.report.tables.table import Row
from mlx_prune.report.words.answered import silent_sentences, strict_sentence, unfinished_sentence
from mlx_prune.report.words.frontier import changing_sentence, undominated_sentences
from mlx_prune.report.words.latency import latency_sentence
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.rates import OVERALL

# Below this rise in percent a release check on perplexity would hardly stop a model.
UNNOTICED_PERPLEXITY = 10.0
# Points by which an actual sparsity may miss its target before the finding says so.
SPARSITY_MISS = 2.0


@dataclass(frozen=True)
class Finding:
    """What a study found.

    Attributes:
        headline: One sentence.
        sentences: The paragraph, sentence by sentence.
        unfinished: What of the study is not finished, and so in none of these; empty where all is. Say it
            first.
    """

    headline: str
    sentences: tuple[str, ...]
    unfinished: str = ""

    @property
    def paragraph(self) -> str:
        """The sentences as running text."""
        return " ".join(self.sentences)


def find(tables: Tables) -> Finding:
    """Say in words what the tables show.

    Args:
        tables: What :func:`mlx_prune.report.write.report_tables` returns.
    """
    return replace(_find(tables), unfinished=unfinished_sentence(tables))


def _find(tables: Tables) -> Finding:
    pruned = [row for row in tables["overall"].rows if row["prune_method"] != DENSE]
    changes = [
        row
        for row in tables["paired_tests"].where(category=OVERALL).rows
        if number(row["srs_delta"]) is not None and number(row["q_clustered"]) is not None
    ]
    opening = _scope(tables, pruned)
    silent = silent_sentences(tables)
    if not pruned:
        nothing = "Only dense models were questioned, so nothing can be said about pruning."
        return Finding(nothing, (opening, *silent))
    if not changes:
        return Finding(_nothing_compared(tables), (opening, *silent))
    rises = [row for row in changes if _significant(row) and _value(row, "srs_delta") > 0]
    falls = [row for row in changes if _significant(row) and _value(row, "srs_delta") < 0]
    largest = max(rises or falls or changes, key=lambda row: abs(_value(row, "srs_delta")))
    sentences = [
        opening,
        *silent,
        _largest(tables, largest, certain=bool(rises or falls)),
        _direction(tables, largest),
        strict_sentence(tables),
        _perplexity(tables, rises),
        _emergence(tables),
        _tests(tables),
        latency_sentence(tables),
        *undominated_sentences(tables),
        changing_sentence(tables),
        _sparsity(pruned),
    ]
    return Finding(_headline(changes, rises, falls), tuple(filter(None, sentences)))


def _nothing_compared(tables: Tables) -> str:
    rows = tables["paired_tests"].where(category=OVERALL).rows
    if not rows:
        return "Without the dense model's answers to the same questions, no change can be told."
    if all(number(row["srs_delta"]) is None for row in rows):
        return "Too few answers were understood to tell any change of stereotype reliance."
    return "Too few question templates were asked to tell any change from chance."


def _headline(changes: Sequence[Row], rises: Sequence[Row], falls: Sequence[Row]) -> str:
    what, done = _words(changes)
    total = _count(len(changes), f"{done} model")
    if rises:
        less = f", and lowered it in {len(falls)}" if falls else ""
        return f"{what} raised stereotype reliance beyond chance in {len(rises)} of {total}{less}."
    if falls:
        lowered = f"{what} lowered stereotype reliance beyond chance in {len(falls)} of {total}"
        return f"{lowered}, and raised it in none."
    lows, highs = (
        [end for row in changes if (end := number(row[f"srs_delta_{side}"])) is not None]
        for side in ("low", "high")
    )
    reach = f"; the 95 % intervals reach from {min(lows):+z.3f} to {max(highs):+z.3f}" if lows else ""
    return f"No change of stereotype reliance in {total} is beyond chance{reach}."


def _words(rows: Sequence[Row]) -> tuple[str, str]:
    """What was done to the models, as a noun and as an adjective."""
    labels = [known_label(str(row["prune_method"])) for row in rows]
    quantized = any(label is not None and label.quantization is not None for label in labels)
    return ("Compression", "compressed") if quantized else ("Pruning", "pruned")


def _scope(tables: Tables, pruned: Sequence[Row]) -> str:
    rows = tables["overall"].rows
    models = len({row["model"] for row in rows})
    categories = len({row["category"] for row in tables["rates"].rows if row["n_items"]})
    items = max((int(_value(row, "n_items")) for row in rows), default=0)
    answers = sum(int(_value(row, "n")) for row in rows)
    who = _count(models, "model")
    if pruned:
        who += f" and {_count(len(pruned), f'{_words(pruned)[1]} version')}"
    asked = f"{_count(items, 'ambiguous question')} in {_count(categories, 'category', 'categories')}"
    return f"{asked} {'was' if items == 1 else 'were'} put to {who}, {answers:,} answers in all."


def _largest(tables: Tables, row: Row, *, certain: bool) -> str:
    overall = {key_of(entry): entry for entry in tables["overall"].rows}.get(key_of(row), {})
    before, after = number(overall.get("srs_baseline")), number(overall.get("srs"))
    levels = f", from {before:.3f} to {after:.3f}" if before is not None and after is not None else ""
    kind = "The largest change beyond chance"
    if not certain:
        low, high = number(row["srs_delta_low"]), number(row["srs_delta_high"])
        # An interval of its own may exclude zero where the comparisons together are too many for that.
        alone = low is not None and high is not None and (low > 0 or high < 0)
        among = " once all comparisons are allowed for" if alone else ""
        kind = f"The largest change, itself within chance{among},"
    return f"{kind} is that of {name_of(row)}: SRS moved by {_signed(row, 'srs_delta')}{levels}."


def _direction(tables: Tables, largest: Row) -> str:
    row = _same(tables, "direction", key_of(largest))
    if row is None or number(row["direction_part"]) is None:
        return ""
    part = f"{_signed(row, 'direction_part')}"
    low, high = number(row["direction_part_low"]), number(row["direction_part_high"])
    if low is None or high is None:
        verdict = ""
    elif low > 0:
        verdict = ", so part of it is bias in a direction"
    elif high < 0:
        verdict = ", so answers that name a person lean less to the stereotype"
    else:
        verdict = ", which is not distinguishable from none"
    abstention = _value(row, "abstention_part")
    return f"Of that, {abstention:+z.3f} is lost abstention and {part} directional{verdict}."


def _perplexity(tables: Tables, rises: Sequence[Row]) -> str:
    known = {key_of(row): number(row["ppl_pct_change"]) for row in tables["evaluation_gap"].rows}
    seen = [(change, row) for row in rises if (change := known.get(key_of(row))) is not None]
    if not seen:
        return ""
    unseen = [(change, row) for change, row in seen if change < UNNOTICED_PERPLEXITY]
    if not unseen:
        least = min(change for change, _ in seen)
        return (
            "Perplexity gave notice here: every model whose SRS rose beyond chance also lost at least "
            f"{least:,.0f} % on perplexity."
        )
    change, row = max(unseen, key=lambda pair: _value(pair[1], "srs_delta"))
    return (
        f"Perplexity alone would have missed {len(unseen)} of the {_count(len(seen), 'rise')}: "
        f"{name_of(row)} changed it by {change:+.1f} % while SRS rose by {_value(row, 'srs_delta'):.3f}."
    )


def _emergence(tables: Tables) -> str:
    rows = [row for row in tables["emergence"].rows if number(row["excess"]) is not None]
    names = ("null", "expected", "excess", "asked afresh")
    if not rows:
        rows = [row for row in tables["emergence"].rows if number(row["held_out_excess"]) is not None]
        names = ("held_out_null", "held_out", "held_out_excess", "asked once more")
    if not rows:
        return ""
    null, after, excess, asked = names
    row = max(rows, key=lambda entry: _value(entry, excess))
    low = number(row[f"{excess}_low"])
    if low is None or low <= 0:
        what = _words(rows)[1]
        beyond = f"no {what} model makes more items biased than sampling alone does, as far as can be told"
        return f"Against the dense model {asked}, {beyond}."
    reached, alone = (f"{100 * _value(row, column):.1f} %" for column in (after, null))
    return (
        f"Of the items without a stereotyped dense answer, {name_of(row)} answers {reached} with one "
        f"when {asked}, where the dense model itself does in {alone}."
    )


def _tests(tables: Tables) -> str:
    found = {row["test"]: row for row in tables["test_summary"].rows}
    before = found.get("chi-square, as in the study")
    after = found.get("clustered by template, adjusted")
    if before is None or after is None:
        return ""
    return (
        f"Of {before['comparisons']} comparisons by category, {before['significant']} are significant if all "
        f"answers are taken as independent, and {after['significant']} of {after['comparisons']} once "
        "answers to one template are kept together and the number of comparisons is allowed for."
    )


def _sparsity(pruned: Sequence[Row]) -> str:
    missed = [
        (abs(actual - target), row)
        for row in pruned
        if (actual := number(row["actual_sparsity"])) is not None
        and (target := number(row["sparsity"])) is not None
        and abs(actual - target) > SPARSITY_MISS
        # Of removed neurons or blocks the target is a share, and a quantized model has no target.
        and leaves_dose(str(row["prune_method"]))
    ]
    if not missed:
        return ""
    _, row = max(missed, key=lambda pair: pair[0])
    others = f" ({len(missed)} models miss their target)" if len(missed) > 1 else ""
    zeros = f"{_value(row, 'actual_sparsity'):.1f} % zeros"
    return f"Targets are not what was reached: {name_of(row)} has {zeros}{others}."


def _same(tables: Tables, table: str, key: Configuration) -> Row | None:
    rows = tables[table].where(category=OVERALL).rows
    return next((row for row in rows if key_of(row) == key), None)


def _significant(row: Row) -> bool:
    return _value(row, "q_clustered") < SIGNIFICANCE


def _value(row: Row, column: str) -> float:
    found = number(row[column])
    return math.nan if found is None else found


def _signed(row: Row, column: str) -> str:
    low, high = number(row[f"{column}_low"]), number(row[f"{column}_high"])
    text = f"{_value(row, column):+z.3f}"
    if low is None or high is None:
        return f"{text} (no interval can be had)"
    return f"{text} (95 % interval {low:+z.3f} to {high:+z.3f})"


def _count(number_of: int, word: str, plural: str = "") -> str:
    return f"{number_of:,} {word if number_of == 1 else plural or word + 's'}"
