"""Figures beside the records of a study, one row per configuration: perplexity and latency."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.json_files import read_object
from mlx_prune.latency.family import LatencyRow, together
from mlx_prune.store import write_atomically

PERPLEXITY_FILE = "perplexity.json"
LATENCY_FILE = "latency.json"
SIZES_FILE = "sizes.json"

Row = dict[str, Any]

# The columns that name a configuration, in their order in these files.
_NAMES = ("model", "prune_method", "sparsity", "pattern")
_ABOVE_ZERO = ("perplexity", "ratio", "low", "high", "dense_ms", "pruned_ms")
_FROM_ZERO = ("standard_error", "size_bytes", "tokens", "sequences", "sequence_length")


def read_results(path: Path) -> list[Row]:
    """The rows of ``perplexity.json``, ``latency.json`` or ``sizes.json``; none where there is no file.

    Raises:
        RecordsError: It is damaged: not JSON, not rows, or a figure that no measurement gives.
    """
    if not path.exists():
        return []
    advice = "delete it to measure again"
    rows = read_object(path, RecordsError, advice).get("results")
    if not isinstance(rows, list):
        raise RecordsError(f'{path} is damaged (no list "results"); {advice}.')
    for number, row in enumerate(rows, start=1):
        fault = _fault(row)
        if fault:
            raise RecordsError(f"{path} is damaged (row {number}: {fault}); {advice}.")
    return rows


def read_latencies(study: Path) -> list[Row]:
    """The rows of a study's ``latency.json``, with intervals that hold together and the verdicts they allow.

    Raises:
        RecordsError: It is damaged.
    """
    path = study / LATENCY_FILE
    try:
        return latencies_together(read_results(path))
    except (ValueError, OverflowError) as error:
        raise RecordsError(f"{path} is damaged ({error}); delete it to measure again.") from error


def latencies_together(rows: list[Row]) -> list[Row]:
    """Rows of ``latency.json``, with intervals that hold together."""
    found = together(LatencyRow.from_json(row) for row in rows)
    return [
        {name: row.get(name) for name in _NAMES} | latency.to_json()
        for row, latency in zip(rows, found, strict=True)
    ]


def _fault(row: Any) -> str:
    """What is wrong with a row; empty if nothing is."""
    if not isinstance(row, dict):
        return "not an object"
    for field in ("model", "prune_method"):
        if not isinstance(row.get(field), str):
            return f"{field} is not a text"
    if not _is_number(row.get("sparsity")) or not 0 <= row["sparsity"] <= 100:
        return "sparsity is not a percentage"
    if not isinstance(row.get("pattern"), str | None):
        return "pattern is not a text"
    for field in (*_ABOVE_ZERO, *_FROM_ZERO):
        value = row.get(field)
        if value is None:
            continue
        if not _is_number(value) or value < 0 or (value == 0 and field in _ABOVE_ZERO):
            return f"{field} is not a {'positive number' if field in _ABOVE_ZERO else 'number from 0'}"
    return _fault_of_sequences(row)


def _fault_of_sequences(row: Row) -> str:
    """Losses by sequence, which rows of an earlier version lack."""
    losses, hashes = row.get("sequence_nll"), row.get("sequence_hashes")
    if losses is None and hashes is None:
        return ""
    if not isinstance(losses, list) or not all(entry is None or _is_number(entry) for entry in losses):
        return "sequence_nll is not a list of numbers"
    if not isinstance(hashes, list) or not all(isinstance(entry, str) for entry in hashes):
        return "sequence_hashes is not a list of texts"
    if len(losses) != len(hashes) or len(losses) != row.get("sequences"):
        return "sequence_nll and sequence_hashes are not one per sequence"
    return ""


def _is_number(value: Any) -> bool:
    # A whole number beyond the range of floats is not one that was measured.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


class ResultsFile:
    """Rows keyed by model and configuration in one JSON file, ``{"results": [row, ...]}``.

    A row holds ``model``, ``prune_method``, ``sparsity`` (target, percent), ``pattern`` and figures; a figure
    that is not finite is null.
    """

    def __init__(self, path: Path, together: Callable[[list[Row]], list[Row]] = list) -> None:
        """Read the file, or start empty where there is none.

        Args:
            path: The file.
            together: What makes figures that depend on all rows, whenever one is added.

        Raises:
            RecordsError: The file is damaged.
        """
        self.path = path
        self._together = together
        self._rows = read_results(path)

    def get(self, name: Configuration) -> Row | None:
        """The row of one configuration, or None."""
        return next((row for row in self._rows if Configuration.of(row) == name), None)

    def put(self, name: Configuration, **figures: Any) -> None:
        """Add or replace the row of one configuration; it is on the disk when this returns."""
        row: Row = {column: getattr(name, column) for column in _NAMES}
        row |= {key: _finite(value) for key, value in figures.items()}
        old = self.get(name)
        self._rows = self._together([kept for kept in self._rows if kept is not old] + [row])
        text = json.dumps({"results": self._rows}, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path, f"{text}\n".encode())


def _finite(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
