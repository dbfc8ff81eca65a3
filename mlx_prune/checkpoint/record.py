"""``pruning_meta.json``, read for everyone: what is wrong with it is told here. Needs no MLX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_prune.errors import CheckpointError
from mlx_prune.json_files import read_object

_KINDS: dict[str, Any] = {
    **dict.fromkeys(("model", "method", "pattern"), str),
    **dict.fromkeys(("target_sparsity", "actual_sparsity", "prune_time_s"), int | float),
    **dict.fromkeys(("total_prunable_params", "remaining_prunable_params", "zero_params"), int),
    **dict.fromkeys(("projections", "calibration", "quantization", "versions"), dict),
    "warnings": list,
}


def read_pruning_meta(file: Path, advice: str) -> dict[str, Any]:
    """The object in a ``pruning_meta.json``, its entries of the kinds that are written; any may be absent.

    Args:
        file: The file.
        advice: What to do about a damaged one, the end of the sentence.

    Raises:
        CheckpointError: It cannot be read, or an entry is of another kind.
    """
    meta = read_object(file, CheckpointError, advice)
    for name, kind in _KINDS.items():
        value = meta.get(name)
        if not isinstance(value, kind | None) or isinstance(value, bool):
            raise CheckpointError(f"{file} gives {name} as {value!r:.40}; {advice}.")
    entries = (meta.get("projections") or {}).values()
    if not all(isinstance(entry, dict) and isinstance(entry.get("zeros"), int) for entry in entries):
        raise CheckpointError(f"{file} does not give the zeros of each of its projections; {advice}.")
    return meta
