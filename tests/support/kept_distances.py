"""Distances from the dense model for a made-up study, kept as studies keep them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mlx_prune.json_files import to_jsonable
from mlx_prune.runs.folder import RunFolder
from mlx_prune.stats.divergence import TokenDivergences, divergence_of

SEQUENCES, POSITIONS = 12, 20


def token_divergences(dense: np.ndarray, log: np.ndarray, harm: float, seed: int = 0) -> TokenDivergences:
    """Two models' made-up predictions of one text, from ln p of its tokens (sequences, positions)."""
    rng = np.random.default_rng(seed)
    return TokenDivergences(
        kl=rng.lognormal(math.log(harm + 1e-3), 1, dense.shape),
        missing=np.full(dense.shape, np.nan),
        dense_log=dense,
        model_log=log,
        same_top=rng.random(dense.shape) > harm,
    )


def distance_row(tokens: TokenDivergences) -> dict[str, Any]:
    """The columns of a row of ``divergence.json`` beside its configuration's."""
    figures = to_jsonable(divergence_of(tokens).figures)
    return {"text": "demo", "top": 16, "rest": 0.1, "divergence": figures}


def keep_distances(study: Path) -> None:
    """Write ``divergence.json`` for every compressed run of a study."""
    rng = np.random.default_rng(1)
    dense = -rng.exponential(2, (SEQUENCES, POSITIONS))
    rows = []
    for number, run in enumerate(sorted(study.glob("runs/*/*"))):
        name = RunFolder(run).configuration
        if not name.is_dense:
            harm = 0.05 + name.sparsity / 1000
            log = dense - np.abs(rng.normal(harm, 0.05, dense.shape))
            row = distance_row(token_divergences(dense, log, harm, number))
            columns = ("model", "prune_method", "sparsity", "pattern")
            rows.append({column: getattr(name, column) for column in columns} | row)
    (study / "divergence.json").write_text(json.dumps({"results": rows}))
