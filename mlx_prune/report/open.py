"""Open a study from a notebook: every table, and the records behind them, as Arrow or pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.errors import RecordsError
from mlx_prune.report.words.finding import Finding, find
from mlx_prune.study.about import StudyAbout, read_about
from mlx_prune.study.folder import StudyFolder

if TYPE_CHECKING:
    import pyarrow as pa

    from mlx_prune.report.tables.build import Tables
    from mlx_prune.runs.folder import RunFolder


@dataclass(eq=False, repr=False)
class Study:
    """A study folder, read when asked; made by :func:`open_study`.

    Attributes:
        path: The folder.
        min_answered: Share of answers that must be understood for a rate to be compared.
    """

    path: Path
    min_answered: float = MIN_ANSWERED

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r})"

    @cached_property
    def tables(self) -> Tables:
        """Every table of the report by name; computed once.

        Raises:
            RecordsError: If the folder holds no records, or damaged files.
        """
        from mlx_prune.report.write import report_tables

        return report_tables(self.path, min_answered=self.min_answered)

    @cached_property
    def about(self) -> StudyAbout:
        """What the study says about itself: settings, versions, devices."""
        return read_about(self.path)

    @cached_property
    def finding(self) -> Finding:
        """The finding, as on the report's page."""
        return find(self.tables)

    def arrow(self, table: str) -> pa.Table:
        """A table of the report as an Arrow table, numbers in full precision.

        Args:
            table: Its name, such as "rates"; ``tables`` lists them.

        Raises:
            RecordsError: If there is no table of that name.
        """
        if table not in self.tables:
            raise RecordsError(f"there is no table {table!r}; there are {', '.join(self.tables)}.")
        return self.tables[table].to_arrow()

    def pandas(self, table: str) -> Any:
        """A table of the report as a pandas data frame; see :meth:`arrow`.

        Raises:
            RecordsError: If there is no table of that name.
        """
        return self.arrow(table).to_pandas()

    def runs(self) -> list[str]:
        """Names of the runs, ``model/configuration``, dense first."""
        return list(self._runs)

    @cached_property
    def _runs(self) -> dict[str, RunFolder]:
        runs = [run for run in StudyFolder(self.path).runs() if run.exists]
        runs.sort(key=lambda run: (run.path.parent.name, run.path.name != "dense-s0"))
        return {f"{run.path.parent.name}/{run.path.name}": run for run in runs}

    def records(self, run: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The answers of one run, one row per item and seed.

        Args:
            run: As :meth:`runs` names it.
            columns: Only these; None reads all.

        Raises:
            RecordsError: If there is no such run, or its records are damaged.
        """
        if run not in self._runs:
            raise RecordsError(f"there is no run {run!r}; there are {', '.join(self._runs) or 'none'}.")
        return self._runs[run].records(columns)

    def items(self) -> pa.Table:
        """The questions, one row each: texts, options, the roles of these, the social group they are about.

        Raises:
            RecordsError: If they were not kept with the runs, nor are at the source that the study names.
        """
        from mlx_prune.runs.items import items_table
        from mlx_prune.study.questions import asked_items

        asked = asked_items(self._runs.values(), StudyFolder(self.path))
        if not asked.by_id:
            raise RecordsError(asked.missing)
        return items_table(asked.by_id.values())


def open_study(path: str | Path, *, min_answered: float = MIN_ANSWERED) -> Study:
    """Open the folder of a study.

    Examples:
        >>> import mlx_prune
        >>> study = mlx_prune.open_study("my-study")
        >>> sorted(study.tables)[:3]
        ['answer_transitions', 'calibrations', 'direction']
        >>> rates = study.pandas("rates")
        >>> list(rates[["category", "srs"]].columns)
        ['category', 'srs']
        >>> rates.query("prune_method == 'wanda'").groupby("category")["srs"].mean().index.tolist()
        ['Age', 'Religion', 'SES']
        >>> study.runs()[0]
        'alpha/dense-s0'
        >>> study.records("alpha/dense-s0", ["item_id", "parsed_answer"]).num_columns
        2
        >>> study.items().column_names[:2]
        ['item_id', 'category']

    Args:
        path: A folder that ``mlxprune study`` or ``mlxprune demo`` wrote.
        min_answered: Share of answers that must be understood for a rate to be compared.

    Raises:
        RecordsError: If it holds no runs.
    """
    folder = StudyFolder(path)
    if not folder.runs():
        raise RecordsError(f"{path} holds no runs; give the folder that `mlxprune study` wrote.")
    return Study(folder.path, min_answered)
