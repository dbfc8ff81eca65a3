"""Tables of what pruning changed, with the intervals and tests that the published study lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import ByCategory, Rated, adjusted, compared, rated
from mlx_prune.report.tables.table import About, Interval, column
from mlx_prune.stats.compare import SrsChange
from mlx_prune.stats.outcomes import OUTCOMES, UNPARSED
from mlx_prune.stats.rates import OVERALL
from mlx_prune.stats.transitions import answer_transitions

R = TypeVar("R", bound=ByCategory)


@dataclass(frozen=True, kw_only=True)
class PairedTest(Rated, ByCategory):
    """A change of SRS and its tests."""

    about = About(
        "paired_tests",
        "Change of SRS, tested as paired",
        "srs_delta with a 95 % interval over question templates, left out where none can be had (fewer than "
        "6 templates, or no change in any); McNemar's exact test on items whose majority of understood "
        "answers is stereotyped; expected_srs_delta from option probabilities, "
        "free of sampling noise. q is adjusted after Benjamini and Hochberg over all models, categories and "
        "configurations (the rows `overall` are a family of their own). Nothing is compared where too few "
        "answers were understood, of the dense model or of the other.",
    )

    srs_delta: Interval
    clusters: int | None = column("question templates that the comparison rests on")
    p_clustered: float | None = column("of no change, with answers to one template kept together")
    items_up: int | None = column("items whose majority of answers became stereotyped")
    items_down: int | None = column("items whose majority of answers ceased to be")
    p_mcnemar: float | None = column("of McNemar's exact test on these items")
    expected_srs_delta: Interval = column("change of the SRS expected from option probabilities")
    p_expected: float | None = column("of no change of the expected SRS, clustered")
    q_clustered: float | None = None
    q_mcnemar: float | None = column("p_mcnemar, adjusted after Benjamini and Hochberg", default=None)
    q_expected: float | None = column("p_expected, adjusted after Benjamini and Hochberg", default=None)

    @classmethod
    def of_study(cls, data: StudyData) -> list[PairedTest]:
        """Every pruned configuration against dense, paired by item and clustered by question template."""
        rows = []
        for name, category, change in _changes(data):
            found = compared(
                data,
                name,
                category,
                srs_delta=Interval.of(change.srs),
                clusters=change.srs.templates,
                p_clustered=change.srs.p_value,
                items_up=change.items_up,
                items_down=change.items_down,
                p_mcnemar=change.p_items,
                expected_srs_delta=Interval.of(change.expected),
                p_expected=change.expected.p_value,
            )
            rows.append(PairedTest(**rated(data, name, category), **found))
        for test in ("clustered", "mcnemar", "expected"):
            rows = _adjusted(rows, f"p_{test}", f"q_{test}")
        return rows


@dataclass(frozen=True, kw_only=True)
class Direction(Rated, ByCategory):
    """A change of SRS, taken apart."""

    about = About(
        "direction",
        "Lost abstention and directional bias",
        "SRS = (1 - USR) / 2 + (SRS - anti rate) / 2. A model that stops abstaining and picks a person by "
        "lot raises SRS through the first part alone; the second is directional bias, half of BBQ's score.",
    )

    srs_delta: float | None
    abstention_part: Interval = column("of srs_delta, what lost abstention alone explains")
    direction_part: Interval = column("of srs_delta, the rest: answers lean more to the stereotype")
    p_direction: float | None = column("of no directional part, clustered")
    bias_score_delta: float | None = column("change of bias_score, twice the directional part")
    q_direction: float | None = column("p_direction, adjusted after Benjamini and Hochberg", default=None)

    @classmethod
    def of_study(cls, data: StudyData) -> list[Direction]:
        """The change of SRS split into lost abstention and direction."""
        rows = []
        for name, category, change in _changes(data):
            lost, leaning = change.abstention, change.direction
            found = compared(
                data,
                name,
                category,
                srs_delta=lost.value + leaning.value,
                abstention_part=Interval.of(lost),
                direction_part=Interval.of(leaning),
                p_direction=leaning.p_value,
                bias_score_delta=2 * leaning.value,
            )
            rows.append(Direction(**rated(data, name, category), **found))
        return _adjusted(rows, "p_direction", "q_direction")


@dataclass(frozen=True, kw_only=True)
class Emergence(Rated):
    """Items that became biased, beside how many do with no pruning at all."""

    about = About(
        "emergence",
        "Emergence against its own null",
        "Shares of the items without a stereotyped dense answer. observed: with one after pruning, under the "
        "same noise. null and expected: with at least one among fresh answers of the dense and of the pruned "
        "model, from option probabilities (left out where answers do not start with a letter). held_out_null "
        "and held_out: stereotyped answers under one seed to items without one under the others. Excess: "
        "pruned minus dense, with a 95 % interval over question templates.",
    )

    unbiased_items: int = column("items without a stereotyped dense answer")
    observed: float | None = column("share of them with a stereotyped answer after pruning")
    letter_mass: float | None
    null: float | None = column("share that fresh answers of the dense model would make biased")
    expected: float | None = column("share that fresh answers of the pruned model would make biased")
    excess: Interval = column("expected minus null")
    p_excess: float | None = column("of no excess, clustered")
    held_out_null: float | None = column("share of single dense answers that are stereotyped, held out")
    held_out: float | None = column("share of single answers of the pruned model that are, held out")
    held_out_excess: Interval = column("held_out minus held_out_null")
    p_held_out: float | None = column("of no held-out excess, clustered")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Emergence]:
        """Emergence after pruning against what the dense model does when it is asked again."""
        for comparison in (one for comparisons in data.comparisons for one in comparisons):
            name, found = comparison.configuration, comparison.emergence
            fresh, held_out = found.fresh, found.held_out
            yield Emergence(
                **rated(data, name),
                unbiased_items=found.unbiased_items,
                observed=found.observed,
                letter_mass=found.letter_mass,
                **compared(
                    data,
                    name,
                    OVERALL,
                    null=fresh and fresh.null,
                    expected=fresh and fresh.share,
                    excess=Interval.of(fresh.change) if fresh else Interval(),
                    p_excess=fresh and fresh.change.p_value,
                    held_out_null=held_out.null,
                    held_out=held_out.share,
                    held_out_excess=Interval.of(held_out.change),
                    p_held_out=held_out.change.p_value,
                ),
            )


@dataclass(frozen=True, kw_only=True)
class AnswerTransition(Rated):
    """Answers that were one thing before and another after."""

    about = About(
        "answer_transitions",
        "What became of the dense answers",
        "Answers to the same item under the same seed; share is of the dense outcome.",
    )

    dense: str = column("the dense model's answer: unparsed, unknown, anti or stereotyped")
    pruned: str = column("the pruned model's")
    answers: int
    share: float | None = column("of the answers with this dense outcome")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[AnswerTransition]:
        """What became of the dense answers, paired by item and seed."""
        for outcomes in data.paired:
            counts = answer_transitions(outcomes)
            for number, name in enumerate(outcomes.configurations[1:], start=1):
                about = rated(data, name)
                for before in range(UNPARSED, len(OUTCOMES)):
                    total = counts[number, before, UNPARSED:].sum()
                    for after in range(UNPARSED, len(OUTCOMES)):
                        count = counts[number, before, after]
                        share = count / total if total else None
                        pair = {"dense": OUTCOMES[before], "pruned": OUTCOMES[after]}
                        yield AnswerTransition(**about | pair, answers=count, share=share)


def _changes(data: StudyData) -> Iterator[tuple[Configuration, str, SrsChange]]:
    """Every change of SRS, category by category."""
    for comparisons in data.comparisons:
        for category in comparisons[0].changes:
            for one in comparisons:
                yield one.configuration, category, one.changes[category]


def _adjusted(rows: Sequence[R], p: str, q: str) -> list[R]:
    """Adjusted p-values: categories are one family, the overall rows another."""
    overall = [row.category == OVERALL for row in rows]
    families = iter(adjusted([row for row, one in zip(rows, overall, strict=True) if not one], p, q))
    means = iter(adjusted([row for row, one in zip(rows, overall, strict=True) if one], p, q))
    return [next(means if one else families) for one in overall]
