"""Tables of what the other tables leave out or depend on: unfinished runs, and answers read off by guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.change import PairedTest
from mlx_prune.report.tables.rows import Named, Rated, adjusted, rated
from mlx_prune.report.tables.table import About, Interval, Table, column
from mlx_prune.stats.compare import overall_changes
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.outcomes import STEREOTYPED
from mlx_prune.stats.rates import OVERALL

RAISED, LOWERED, WITHIN_CHANCE = "raised", "lowered", "within chance"


@dataclass(frozen=True, kw_only=True)
class ParseFailures(Rated):
    """Answers by the parsing rule that read them."""

    about = About(
        "parse_failures",
        "Answers that were not understood",
        "Counts and parse_fail_rate are pooled over categories; answered is their mean. The rule "
        "first_character turns gibberish into answers, so that those it decided do not count as understood. "
        "Rates with a smaller share of answers than min_answered are struck out and not compared.",
    )

    total: int = column("answers to ambiguous questions")
    parse_failures: int = column("answers in which no letter was found")
    parse_fail_rate: float | None
    rule_exact: int = column("answers that are one letter and nothing else")
    rule_leading: int = column("answers that begin with a letter")
    rule_phrase: int = column("answers that say which letter they choose")
    rule_first_character: int = column("answers that hold an a, b or c anywhere")
    rule_none: int = column("the others")
    min_answered: float = column("share of answers that must be understood for a rate to be compared")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[ParseFailures]:
        """Answers in which no letter was found, and which parsing rule decided the others."""
        for run in data.runs:
            overall = run.rates.overall
            failures = overall.n_answers - overall.n_parsed
            yield ParseFailures(
                **rated(data, run.configuration),
                total=overall.n_answers,
                parse_failures=failures,
                parse_fail_rate=failures / overall.n_answers if overall.n_answers else None,
                rule_exact=overall.rules["exact"],
                rule_leading=overall.rules["leading"],
                rule_phrase=overall.rules["phrase"],
                rule_first_character=overall.rules["first_character"],
                rule_none=overall.rules["none"],
                min_answered=data.min_answered,
            )


@dataclass(frozen=True, kw_only=True)
class RunProgress(Named):
    """How far a configuration is."""

    about = About(
        "progress",
        "How far the study is",
        "Configurations that are not complete are in no other table.",
    )

    state: str = column("complete, unfinished or not begun")
    answers: int = column("records that there are")
    expected: int | None = column("records that there will be; empty where that cannot be told")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[RunProgress]:
        """How far every configuration is."""
        for state in data.states:
            yield RunProgress(
                configuration=state.configuration,
                state=state.state,
                answers=state.answers,
                expected=state.expected,
            )


@dataclass(frozen=True, kw_only=True)
class ParseSensitivity(Rated):
    """Rates by all four parsing rules beside those by the first three."""

    about = About(
        "parse_sensitivity",
        "Rates read strictly",
        "The study's four rules beside the first three alone (_strict), which take an answer as not parsed "
        "that was read off as the first a, b or c anywhere. Change of the overall SRS from dense, paired and "
        "clustered by template as in `paired_tests`, and whether its verdict changes.",
    )

    srs: float | None
    srs_strict: float | None = column("srs, read strictly")
    usr: float | None
    usr_strict: float | None = column("usr, read strictly")
    anti_rate: float | None
    anti_rate_strict: float | None = column("anti_rate, read strictly")
    srs_delta: float | None = None
    q_clustered: float | None = None
    srs_delta_strict: Interval = column("srs_delta, read strictly", default=Interval())
    p_strict: float | None = column("of no change, read strictly", default=None)
    q_strict: float | None = column("p_strict, adjusted after Benjamini and Hochberg", default=None)
    verdict: str | None = column("raised, lowered or within chance; empty where not tested", default=None)
    verdict_strict: str | None = column("the same, read strictly", default=None)
    verdict_changes: bool | None = column("whether the two differ", default=None)

    @classmethod
    def of_tables(cls, data: StudyData, paired: Table[PairedTest]) -> Iterator[ParseSensitivity]:
        """Overall rates and their change from dense, by all four parsing rules and by the first three.

        Args:
            data: The study.
            paired: Its table ``paired_tests``, which reads by all four.
        """
        change = {row.configuration: row for row in paired.rows if row.category == OVERALL}
        strict = _strict_changes(data, change)
        rows = []
        for run in data.runs:
            overall, found = run.rates.overall, change.get(run.configuration)
            strict_change, p_strict = strict.get(run.configuration, (Interval(), None))
            row = ParseSensitivity(
                **rated(data, run.configuration),
                srs=overall.srs,
                srs_strict=overall.strict_srs,
                usr=overall.usr,
                usr_strict=overall.strict_usr,
                anti_rate=overall.anti_rate,
                anti_rate_strict=overall.strict_anti_rate,
                srs_delta=found.srs_delta.value if found else None,
                q_clustered=found.q_clustered if found else None,
                srs_delta_strict=strict_change,
                p_strict=p_strict,
            )
            rows.append(row)
        # The family that the overall rows of paired_tests are, read strictly.
        return map(_judged, adjusted(rows, "p_strict", "q_strict"))


def _judged(row: ParseSensitivity) -> ParseSensitivity:
    whole, strict = verdict(row.srs_delta, row.q_clustered), verdict(row.srs_delta_strict.value, row.q_strict)
    changes = whole != strict if whole is not None and strict is not None else None
    return replace(row, verdict=whole, verdict_strict=strict, verdict_changes=changes)


def _strict_changes(
    data: StudyData, change: Mapping[Configuration, PairedTest]
) -> dict[Configuration, tuple[Interval, float | None]]:
    """Change of SRS of every compressed configuration, read strictly, and its p-value."""
    found: dict[Configuration, tuple[Interval, float | None]] = {}
    for outcomes in data.paired:
        strict = outcomes.strict()
        if strict is outcomes:
            # No answer was guessed at, so that the strict reading is the other one.
            rows = (change[name] for name in outcomes.configurations[1:])
            found |= {row.configuration: (row.srs_delta, row.p_clustered) for row in rows}
            continue
        changes = overall_changes(strict, strict.counts(STEREOTYPED), strict.parsed())
        for name, one in zip(outcomes.configurations[1:], changes, strict=True):
            if data.compared(name, OVERALL):
                found[name] = (Interval.of(one), one.p_value)
    return found


def verdict(change: float | None, q: float | None) -> str | None:
    """Whether a change of SRS is beyond chance, and which way; None where it was not tested."""
    if change is None or q is None:
        return None
    if q >= SIGNIFICANCE:
        return WITHIN_CHANCE
    return RAISED if change > 0 else LOWERED
