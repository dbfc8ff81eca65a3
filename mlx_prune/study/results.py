"""Figures beside the records of a study, one row per configuration: perplexity and latency."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from mlx_prune.errors import RecordsError
from mlx_prune.study.config import ConfigurationName
from mlx_prune.study.files import write_atomically

PERPLEXITY_FILE = "perplexity.json"
LATENCY_FILE = "latency.json"
SIZES_FILE = "sizes.json"

Row = dict[str, Any]


class ResultsFile:
    """Rows keyed by model and configuration in one JSON file, ``{"results": [row, ...]}``.

    A row holds ``model``, ``prune_method``, ``sparsity`` (target, percent), ``pattern`` and figures; a figure
    that is not finite is null.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, or start empty where there is none.

        Raises:
            RecordsError: The file is damaged.
        """
        self.path = path
        self._rows: list[Row] = []
        if path.is_file():
            try:
                self._rows = list(json.loads(path.read_text(encoding="utf-8"))["results"])
            except (ValueError, KeyError, TypeError) as error:
                raise RecordsError(f"{path} is damaged ({error!r}); delete it to measure again.") from error

    def get(self, model: str, name: ConfigurationName) -> Row | None:
        """The row of one configuration, or None."""
        key = _key(model, name)
        return next((row for row in self._rows if all(row.get(k) == v for k, v in key.items())), None)

    def put(self, model: str, name: ConfigurationName, **figures: Any) -> None:
        """Add or replace the row of one configuration; it is on the disk when this returns."""
        row = {**_key(model, name), **{key: _finite(value) for key, value in figures.items()}}
        old = self.get(model, name)
        self._rows = [kept for kept in self._rows if kept is not old] + [row]
        text = json.dumps({"results": self._rows}, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path, f"{text}\n".encode())


def _key(model: str, name: ConfigurationName) -> Row:
    return {
        "model": model,
        "prune_method": name.method,
        "sparsity": name.sparsity,
        "pattern": name.pattern,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
