"""The table of a study's latency ratios, from its ``latency.json``."""

from __future__ import annotations

from pathlib import Path

from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import key
from mlx_prune.report.tables.table import Table, make_table
from mlx_prune.study.results import read_latencies

_FIGURES = ("ratio", "low", "high", "verdict", "more_rounds", "more_items", "drift", "dense_ms", "pruned_ms")


def latency_ratio_table(data: StudyData, folder: Path) -> Table:
    """Time of an answer relative to dense, for the configurations that were timed.

    Raises:
        RecordsError: If the file is damaged.
    """
    found = {
        Configuration.of(row): {figure: row.get(figure) for figure in _FIGURES}
        for row in read_latencies(folder)
    }
    return make_table(
        "latency_ratios",
        "Time of an answer, relative to dense",
        "Paired ratio of the time per question, measured in turn with the dense model, with its interval; "
        "all intervals of the study hold at once with 95 % confidence. faster, slower: the whole interval is "
        "more than 5 % from dense; same: all of it is within 5 %; open: it reaches across that limit, and "
        "about how many more rounds or items would tell. drift: fraction by which times grew over the run; "
        "beyond 0.1 either way nothing is settled. Milliseconds are medians.",
        [
            key(data, run.configuration) | found[run.configuration]
            for run in data.runs
            if found.get(run.configuration, {}).get("ratio") is not None
        ],
        ("model", "prune_method"),
    )
