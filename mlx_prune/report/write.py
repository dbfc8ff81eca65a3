"""Make the report of a study: tables, figures and the page, from files alone; MLX is not needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.report.changed import changed_answers
from mlx_prune.report.data import StudyData, read_study
from mlx_prune.report.figures.drawn import drawing, write_figures
from mlx_prune.report.figures.style import naming
from mlx_prune.report.page.page import draft_page
from mlx_prune.report.tables.build import Tables, build_tables, write_tables
from mlx_prune.report.tables.frontier import Frontier
from mlx_prune.report.tables.table import Table
from mlx_prune.report.words.finding import Finding, find
from mlx_prune.store import write_atomically
from mlx_prune.study.about import read_about

TABLES_FOLDER = "tables"
FIGURES_FOLDER = "figures"
PAGE_FILE = "report.html"


@dataclass(frozen=True)
class ReportPaths:
    """What :func:`write_report` wrote.

    Attributes:
        page: The HTML page.
        tables: CSV and Markdown files.
        figures: SVG files, and PNG files if they were asked for.
        finding: The finding, as on the page.
        frontier: The table of what was bought and at what price; no rows where nothing was compressed.
    """

    page: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    finding: Finding
    frontier: Table[Frontier]


def report_tables(study: Path, *, min_answered: float = MIN_ANSWERED) -> Tables:
    """Every table of a study's report.

    Args:
        study: The study folder.
        min_answered: Share of answers that must be understood for a rate to be compared.

    Raises:
        RecordsError: If the folder holds no records, or damaged files.
    """
    return build_tables(read_study(study, min_answered=min_answered))


def write_report(
    study: str | Path,
    *,
    min_answered: float = MIN_ANSWERED,
    png: bool = False,
    progress: ProgressCallback = silent,
) -> ReportPaths:
    """Write ``tables/``, ``figures/`` and ``report.html`` into a study's folder.

    Files of an earlier report that this one does not make are removed.

    Args:
        study: The study folder.
        min_answered: Share of answers that must be understood for a rate to be compared.
        png: Write the figures as PNG, too.
        progress: Called with stages "tables" and "figures".

    Raises:
        RecordsError: If the folder holds no records, or damaged files, or cannot be written.
    """
    progress(Progress("tables", 0, 1))
    return write_report_of(
        read_study(Path(study), min_answered=min_answered), study, png=png, progress=progress
    )


def write_report_of(
    data: StudyData, study: str | Path, *, png: bool = False, progress: ProgressCallback = silent
) -> ReportPaths:
    """Write the report of a study that was read already; as :func:`write_report`."""
    folder = Path(study)
    about, tables = read_about(folder), build_tables(data)
    progress(Progress("tables", 1, 1))
    with naming(row.configuration for row in tables.overall.rows):
        with drawing(tables, png=png, progress=progress) as finish:
            # While other processes draw.
            draft = draft_page(tables, about, changed_answers(data))
            table_files = write_tables(tables, folder / TABLES_FOLDER)
            figures = finish()
        text = draft.page(figures)
    figure_files = write_figures(figures, folder / FIGURES_FOLDER)
    _remove_others(folder / TABLES_FOLDER, table_files, (".csv", ".md"))
    _remove_others(folder / FIGURES_FOLDER, figure_files, (".png", ".svg"))
    page = folder / PAGE_FILE
    write_atomically(page, text.encode())
    return ReportPaths(page, tuple(table_files), tuple(figure_files), find(tables), tables.frontier)


def _remove_others(folder: Path, kept: list[Path], suffixes: tuple[str, ...]) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix in suffixes and path not in kept:
                path.unlink()
