"""Every table of a study, from its records; MLX is not needed.

>>> tables = build_tables(Path("my-study"))    # doctest: +SKIP
>>> print(tables.tests.to_markdown())          # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mlx_prune.report.data import StudyData, read_study
from mlx_prune.report.tables.answered import (
    ParseFailures,
    ParseSensitivity,
    RunProgress,
)
from mlx_prune.report.tables.calibrations import OtherText
from mlx_prune.report.tables.change import (
    AnswerTransition,
    Direction,
    Emergence,
    PairedTest,
)
from mlx_prune.report.tables.changing import Changing
from mlx_prune.report.tables.divergence import Distance
from mlx_prune.report.tables.frontier import Frontier
from mlx_prune.report.tables.groups import GroupRate
from mlx_prune.report.tables.latency import Latency, LatencyRatio
from mlx_prune.report.tables.model import (
    ChiSquare,
    LogisticRow,
    TestSummary,
)
from mlx_prune.report.tables.published import Published
from mlx_prune.report.tables.rates import (
    Disambiguated,
    Entropy,
    Expected,
    Overall,
    Rate,
    Size,
)
from mlx_prune.report.tables.recovery import Recovered
from mlx_prune.report.tables.study import (
    DoseResponse,
    EvaluationGap,
    LatentItems,
    LatentRate,
    MethodAtHalf,
    Transitions,
)
from mlx_prune.report.tables.table import Table
from mlx_prune.report.tables.uncertainty import Uncertainty
from mlx_prune.store import write_atomically

STUDY_TABLES: tuple[Any, ...] = (
    Rate,
    Transitions,
    DoseResponse,
    EvaluationGap,
    MethodAtHalf,
    ChiSquare,
    LogisticRow,
    LatentItems,
    LatentRate,
    ParseFailures,
    Latency,
    Size,
    Entropy,
)
"""The tables of the published study, by its definitions."""

FURTHER_TABLES: tuple[Any, ...] = (
    Overall,
    PairedTest,
    Direction,
    Emergence,
    Expected,
    AnswerTransition,
    Disambiguated,
    RunProgress,
    LatencyRatio,
    Changing,
    GroupRate,
    Recovered,
    OtherText,
    Distance,
    Uncertainty,
)
"""What the published study lacks."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Tables(Mapping[str, Table[Any]]):
    """The tables of a report: attributes, and by name. One that lacks its input has no rows."""

    # The published study's, by its definitions.
    rates: Table[Rate]
    transitions: Table[Transitions]
    dose_response: Table[DoseResponse]
    evaluation_gap: Table[EvaluationGap]
    methods_at_50: Table[MethodAtHalf]
    tests: Table[ChiSquare]
    logistic: Table[LogisticRow]
    latent_items: Table[LatentItems]
    latent_rates: Table[LatentRate]
    parse_failures: Table[ParseFailures]
    latency: Table[Latency]
    sizes: Table[Size]
    entropy: Table[Entropy]
    # What it lacks.
    overall: Table[Overall]
    paired_tests: Table[PairedTest]
    groups: Table[GroupRate]
    recovery: Table[Recovered]
    calibrations: Table[OtherText]
    divergence: Table[Distance]
    uncertainty: Table[Uncertainty]
    direction: Table[Direction]
    emergence: Table[Emergence]
    expected: Table[Expected]
    answer_transitions: Table[AnswerTransition]
    disambiguated: Table[Disambiguated]
    # Made from others.
    test_summary: Table[TestSummary] = Table(TestSummary, ())
    parse_sensitivity: Table[ParseSensitivity] = Table(ParseSensitivity, ())
    progress: Table[RunProgress]
    latency_ratios: Table[LatencyRatio]
    frontier: Table[Frontier] = Table(Frontier, ())
    items_changing: Table[Changing]
    published: Table[Published] = Table(Published, ())

    def __getitem__(self, name: str) -> Table[Any]:
        if name not in _NAMES:
            raise KeyError(name)
        found: Table[Any] = getattr(self, name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


_NAMES = tuple(field.name for field in fields(Tables))


def build_tables(source: StudyData | Path) -> Tables:
    """Build every table of a study.

    Args:
        source: A study folder, or what :func:`~mlx_prune.report.data.read_study` read from one.

    Raises:
        RecordsError: If the folder holds no records, or damaged ones.
    """
    data = source if isinstance(source, StudyData) else read_study(source)
    kinds = (*STUDY_TABLES, *FURTHER_TABLES)
    tables = Tables(**{kind.about.name: Table.of(kind, kind.of_study(data)) for kind in kinds})
    paired = tables.paired_tests
    tables = replace(
        tables,
        test_summary=Table.of(TestSummary, TestSummary.of_tables(tables.tests, paired)),
        parse_sensitivity=Table.of(ParseSensitivity, ParseSensitivity.of_tables(data, paired)),
        frontier=Table.of(
            Frontier, Frontier.of_tables(data, tables.direction, tables.emergence, tables.latency_ratios)
        ),
    )
    return replace(tables, published=Table.of(Published, Published.of_tables(tables)))


def write_tables(tables: Mapping[str, Table[Any]], folder: Path) -> list[Path]:
    """Write each table that has rows as CSV and Markdown into a folder; returns the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables.values():
        if not len(table):
            continue
        heading = f"# {table.title}\n\n{table.note}\n\n"
        for suffix, text in (("csv", table.to_csv()), ("md", heading + table.to_markdown())):
            path = folder / f"{table.name}.{suffix}"
            write_atomically(path, text.encode())
            written.append(path)
    return written
