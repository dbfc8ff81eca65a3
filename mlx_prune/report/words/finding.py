"""The finding of a study in a paragraph, computed from its tables; it claims no more than they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlx_prune import words
from mlx_prune.configuration import Configuration
from mlx_prune.kinds import leaves_dose
from mlx_prune.labels import known_label
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.change import Emergence, PairedTest
from mlx_prune.report.tables.rates import Overall
from mlx_prune.report.tables.table import Interval
from mlx_prune.report.words.answered import silent_sentences, strict_sentence, unfinished_sentence
from mlx_prune.report.words.calibrations import calibrations_sentence
from mlx_prune.report.words.frontier import changing_sentence, undominated_sentences
from mlx_prune.report.words.groups import groups_sentence
from mlx_prune.report.words.latency import latency_sentence
from mlx_prune.report.words.meaning import UNNOTICED_PERPLEXITY, meaning_of, perplexity_changes
from mlx_prune.report.words.predictions import change_of_perplexity, divergence_sentence, uncertainty_sentence
from mlx_prune.report.words.recovery import recovery_sentence
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.rates import OVERALL

# Points by which an actual sparsity may miss its target before the finding says so.
SPARSITY_MISS = 2.0


@dataclass(frozen=True)
class Finding:
    """What a study found.

    Attributes:
        headline: One sentence.
        sentences: The paragraph, sentence by sentence.
        perplexity: Of these, what perplexity tells of the rises of SRS; empty where there is none.
        meaning: What this means for a release, sentence by sentence, in words without abbreviations.
        unfinished: What of the study is not finished, and so in none of these; empty where all is. Say it
            first.
    """

    headline: str
    sentences: tuple[str, ...]
    unfinished: str = ""
    perplexity: str = ""
    meaning: tuple[str, ...] = ()

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
    pruned = [row for row in tables.overall.rows if not row.configuration.is_dense]
    changes = [
        row
        for row in tables.paired_tests.where(category=OVERALL).rows
        if row.srs_delta.value is not None and row.q_clustered is not None
    ]
    rises = [row for row in changes if _significant(row) and _change(row) > 0]
    falls = [row for row in changes if _significant(row) and _change(row) < 0]
    meaning = meaning_of(tables, changes, rises, falls)
    opening = _scope(tables, pruned)
    silent = silent_sentences(tables)
    if not pruned:
        nothing = "Only dense models were questioned, so nothing can be said about pruning."
        return Finding(nothing, (opening, *silent), meaning=meaning)
    if not changes:
        return Finding(_nothing_compared(tables), (opening, *silent), meaning=meaning)
    perplexity = _perplexity(tables, rises)
    largest = max(rises or falls or changes, key=lambda row: abs(_change(row)))
    sentences = [
        opening,
        *silent,
        _largest(tables, largest, certain=bool(rises or falls)),
        _direction(tables, largest.configuration),
        strict_sentence(tables),
        perplexity,
        divergence_sentence(tables),
        uncertainty_sentence(tables),
        _emergence(tables),
        _tests(tables),
        groups_sentence(tables),
        recovery_sentence(tables),
        calibrations_sentence(tables),
        latency_sentence(tables),
        *undominated_sentences(tables),
        changing_sentence(tables),
        _sparsity(pruned),
    ]
    return Finding(
        _headline(changes, rises, falls),
        tuple(filter(None, sentences)),
        perplexity=perplexity,
        meaning=meaning,
    )


def _nothing_compared(tables: Tables) -> str:
    rows = tables.paired_tests.where(category=OVERALL).rows
    if not rows:
        return "Without the dense model's answers to the same questions, no change can be told."
    if all(row.srs_delta.value is None for row in rows):
        return "Too few answers were understood to tell any change of stereotype reliance."
    return "Too few question templates were asked to tell any change from chance."


def _headline(changes: Sequence[PairedTest], rises: Sequence[PairedTest], falls: Sequence[PairedTest]) -> str:
    what, done = _compression([row.configuration for row in changes])
    total = words.counted(len(changes), f"{done} model")
    if rises:
        less = f", and lowered it in {len(falls)}" if falls else ""
        return f"{what} raised stereotype reliance beyond chance in {len(rises)} of {total}{less}."
    if falls:
        lowered = f"{what} lowered stereotype reliance beyond chance in {len(falls)} of {total}"
        return f"{lowered}, and raised it in none."
    ends = [row.srs_delta.ends for row in changes if row.srs_delta.ends]
    reach = ""
    if ends:
        low, high = words.signed(min(low for low, _ in ends)), words.signed(max(high for _, high in ends))
        reach = f"; the 95 % intervals reach from {low} to {high}"
    return f"No change of stereotype reliance in {total} is beyond chance{reach}."


def _compression(done: Sequence[Configuration]) -> tuple[str, str]:
    """What was done to the models, as a noun and as an adjective; of given checkpoints nobody knows."""
    if any(configuration.is_named for configuration in done):
        return "What was done to the weights", "changed"
    labels = [known_label(configuration.prune_method) for configuration in done]
    quantized = any(label is not None and label.quantization is not None for label in labels)
    return ("Compression", "compressed") if quantized else ("Pruning", "pruned")


def _scope(tables: Tables, pruned: Sequence[Overall]) -> str:
    rows = tables.overall.rows
    models = {row.configuration.model for row in rows}
    categories = {row.category for row in tables.rates.rows if row.n_items}
    items = max((row.n_items for row in rows), default=0)
    who = words.counted(len(models), "model")
    if pruned:
        done = _compression([row.configuration for row in pruned])[1]
        who += f" and {words.counted(len(pruned), f'{done} version')}"
    asked = words.counted(items, "ambiguous question")
    among = words.counted(len(categories), "category", "categories")
    answers = sum(row.n for row in rows)
    return f"{asked} in {among} {'was' if items == 1 else 'were'} put to {who}, {answers:,} answers in all."


def _largest(tables: Tables, row: PairedTest, *, certain: bool) -> str:
    overall = next((one for one in tables.overall.rows if one.configuration == row.configuration), None)
    levels = ""
    if overall and overall.srs_baseline is not None and overall.srs is not None:
        levels = f", from {words.fixed(overall.srs_baseline)} to {words.fixed(overall.srs)}"
    kind = "The largest change beyond chance"
    if not certain:
        low, high = row.srs_delta.ends or (0.0, 0.0)
        # An interval of its own may exclude zero where the comparisons together are too many for that.
        among = " once all comparisons are allowed for" if low > 0 or high < 0 else ""
        kind = f"The largest change, itself within chance{among},"
    moved = _with_interval(row.srs_delta)
    return f"{kind} is that of {row.configuration.full_name}: SRS moved by {moved}{levels}."


def _direction(tables: Tables, configuration: Configuration) -> str:
    rows = tables.direction.where(category=OVERALL).rows
    row = next((one for one in rows if one.configuration == configuration), None)
    if row is None or row.direction_part.value is None:
        return ""
    verdict = ""
    if row.direction_part.ends:
        low, high = row.direction_part.ends
        verdict = ", which is not distinguishable from none"
        if low > 0:
            verdict = ", so part of it is bias in a direction"
        elif high < 0:
            verdict = ", so answers that name a person lean less to the stereotype"
    lost, part = words.signed(row.abstention_part.value), _with_interval(row.direction_part)
    how = "gained" if (row.abstention_part.value or 0.0) < 0 else "lost"
    return f"Of that, {lost} is {how} abstention and {part} directional{verdict}."


def _perplexity(tables: Tables, rises: Sequence[PairedTest]) -> str:
    seen = perplexity_changes(tables, rises)
    if not seen:
        return ""
    unseen = [(change, row) for change, row in seen if change < UNNOTICED_PERPLEXITY]
    if not unseen:
        least = min(change for change, _ in seen)
        return (
            "Perplexity gave notice here: every model whose SRS rose beyond chance also lost at least "
            f"{words.percentage(least, 0)} on perplexity."
        )
    change, row = max(unseen, key=lambda pair: _change(pair[1]))
    missed = "this rise" if len(seen) == 1 else f"{len(unseen)} of the {len(seen)} rises"
    return (
        f"Perplexity alone would have missed {missed}: "
        f"{row.configuration.full_name} changed it by {_perplexity_change(tables, row, change)} while SRS "
        f"rose by {words.fixed(_change(row))}."
    )


def _perplexity_change(tables: Tables, row: PairedTest, change: float) -> str:
    """With its interval where the two models' losses were paired."""
    rows = tables.divergence.rows
    paired = next((one for one in rows if one.configuration == row.configuration), None)
    if paired is None or paired.perplexity_change.ends is None:
        return words.percentage(change, sign=True)
    return change_of_perplexity(paired.perplexity_change)


def _emergence(tables: Tables) -> str:
    fresh = [(row, row.excess, row.expected, row.null) for row in tables.emergence.rows]
    held_out = [(row, row.held_out_excess, row.held_out, row.held_out_null) for row in tables.emergence.rows]
    for found, asked in ((fresh, "asked afresh"), (held_out, "asked once more")):
        known = [entry for entry in found if entry[1].value is not None]
        if known:
            return _most_emergent(known, asked)
    return ""


def _most_emergent(
    found: Sequence[tuple[Emergence, Interval, float | None, float | None]], asked: str
) -> str:
    row, excess, after, null = max(found, key=lambda entry: entry[1].value or 0.0)
    if excess.low is None or excess.low <= 0:
        what = _compression([one.configuration for one, *_ in found])[1]
        beyond = f"no {what} model makes more items biased than sampling alone does, as far as can be told"
        return f"Against the dense model {asked}, {beyond}."
    return (
        f"Of the items without a stereotyped dense answer, {row.configuration.full_name} answers "
        f"{words.percent(after)} with one when {asked}, where the dense model itself does in "
        f"{words.percent(null)}."
    )


def _tests(tables: Tables) -> str:
    found = {row.test: row for row in tables.test_summary.rows}
    before = found.get("chi-square, as in the study")
    after = found.get("clustered by template, adjusted")
    if before is None or after is None:
        return ""
    if not before.significant and not after.significant:
        return (
            f"Of {words.counted(before.comparisons, 'comparison')} by category none is significant, not even "
            "if all answers are taken as independent."
        )
    return (
        f"Of {before.comparisons} comparisons by category, {before.significant} are significant if all "
        f"answers are taken as independent, and {after.significant} of {after.comparisons} once "
        "answers to one template are kept together and the number of comparisons is allowed for."
    )


def _sparsity(pruned: Sequence[Overall]) -> str:
    missed = [
        (abs(row.actual_sparsity - row.configuration.sparsity), row)
        for row in pruned
        # Of removed neurons or blocks the target is a share, and a quantized model has no target.
        if row.actual_sparsity is not None
        and not row.configuration.is_named
        and leaves_dose(row.configuration.prune_method)
    ]
    missed = [pair for pair in missed if pair[0] > SPARSITY_MISS]
    if not missed:
        return ""
    _, row = max(missed, key=lambda pair: pair[0])
    others = f" ({len(missed)} models miss their target)" if len(missed) > 1 else ""
    zeros = f"{words.percentage(row.actual_sparsity)} zeros"
    return f"Targets are not what was reached: {row.configuration.full_name} has {zeros}{others}."


def _significant(row: PairedTest) -> bool:
    return row.q_clustered is not None and row.q_clustered < SIGNIFICANCE


def _change(row: PairedTest) -> float:
    return row.srs_delta.value or 0.0


def _with_interval(change: Interval) -> str:
    if change.ends is None:
        return f"{words.signed(change.value)} (no interval can be had)"
    return f"{words.signed(change.value)} (95 % interval {words.interval(*change.ends, words.signed)})"
