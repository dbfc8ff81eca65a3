"""Every table of a study, from its records; MLX is not needed.

>>> tables = build_tables(Path("my-study"))    # doctest: +SKIP
>>> print(tables["tests"].to_markdown())       # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path

from mlx_prune.report.data import StudyData, read_study
from mlx_prune.report.tables.answered import parse_sensitivity_table, progress_table
from mlx_prune.report.tables.change import (
    answer_transition_table,
    direction_table,
    emergence_table,
    paired_test_table,
)
from mlx_prune.report.tables.model import chi_square_table, logistic_table, summary_table
from mlx_prune.report.tables.rates import (
    disambiguated_table,
    entropy_table,
    expected_table,
    latency_table,
    overall_table,
    parse_failure_table,
    rate_table,
    size_table,
)
from mlx_prune.report.tables.study import (
    dose_response_table,
    evaluation_gap_table,
    latent_item_table,
    latent_rate_table,
    method_table,
    transition_table,
)
from mlx_prune.report.tables.table import Table
from mlx_prune.store import write_atomically

STUDY_TABLES = (
    rate_table,
    transition_table,
    dose_response_table,
    evaluation_gap_table,
    method_table,
    chi_square_table,
    logistic_table,
    latent_item_table,
    latent_rate_table,
    parse_failure_table,
    latency_table,
    size_table,
    entropy_table,
)
"""The tables of the published study, by its definitions."""

FURTHER_TABLES = (
    overall_table,
    paired_test_table,
    direction_table,
    emergence_table,
    expected_table,
    answer_transition_table,
    disambiguated_table,
)
"""What the published study lacks."""


def build_tables(study: StudyData | Path) -> dict[str, Table]:
    """Build every table that the study's records allow.

    Args:
        study: A study folder, or what :func:`~mlx_prune.report.data.read_study` read from one.

    Returns:
        Tables by name. One that lacks its input (perplexity, timed answers, a dense model) has no rows.

    Raises:
        RecordsError: If the folder holds no records, or damaged ones.
    """
    data = study if isinstance(study, StudyData) else read_study(study)
    tables = {table.name: table for table in (build(data) for build in (*STUDY_TABLES, *FURTHER_TABLES))}
    further = (
        summary_table(tables["tests"], tables["paired_tests"]),
        parse_sensitivity_table(data, tables["paired_tests"]),
        progress_table(data),
    )
    return tables | {table.name: table for table in further}


def write_tables(tables: dict[str, Table], folder: Path) -> list[Path]:
    """Write each table that has rows as CSV and Markdown into a folder; returns the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables.values():
        if not len(table):
            continue
        markdown = f"# {table.title}\n\n{table.note}\n\n{table.to_markdown()}"
        for suffix, text in (("csv", table.to_csv()), ("md", markdown)):
            path = folder / f"{table.name}.{suffix}"
            write_atomically(path, text.encode())
            written.append(path)
    return written
