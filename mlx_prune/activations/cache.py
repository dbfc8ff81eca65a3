"""Activation statistics on disk, found again by the content of model and text.

Dense statistics serve every sparsity and pattern; sequential runs share those of the first block, which sees
the dense network whatever the recipe.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_prune.activations.statistics import SquareSums
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.caches import HASHES, STATISTICS, cache_folder
from mlx_prune.checkpoint.hashes import content_hash
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.environment import backend, versions
from mlx_prune.json_files import fingerprint
from mlx_prune.kernels import choice
from mlx_prune.store import complete_file

_VERSION = 2  # of what the sums mean
_FIRST_BLOCK = "first-block"
_ALL_BLOCKS = "dense"


class StatisticsCache:
    """The entries of one model on one calibration text."""

    def __init__(self, model: OnDisk, data: CalibrationTokens, *, batch_size: int) -> None:
        """Work out the key; hashes the weight files, unless their hash is known.

        Args:
            model: Whose statistics.
            data: The calibration sequences.
            batch_size: Sequences per batch, on which last bits may depend.
        """
        folder = cache_folder()
        installed = versions()
        key = {
            "version": _VERSION,
            "weights": content_hash(model.checkpoint.shards, folder / HASHES),
            "config": hashlib.sha256((model.checkpoint.path / "config.json").read_bytes()).hexdigest(),
            "tokens": data.tokens_sha256,
            "dtype": model.compute,
            "batch_size": batch_size,
            "backend": backend(),
            "mlx": installed["mlx"],
            "mlx-lm": installed["mlx-lm"],
        }
        if backend() != "cpu":
            # Who switches the kernels off wants nothing that they computed.
            key["sums"] = choice.fault("sum_of_squares", getattr(mx, model.compute)) is None
        name = fingerprint(key)
        self._folder = folder / STATISTICS / name

    def dense(self) -> dict[str, SquareSums]:
        """Sums of every layer of the dense network; empty if never measured."""
        return _read(self._folder / f"{_ALL_BLOCKS}.safetensors")

    def first_block(self, names: set[str]) -> dict[str, SquareSums]:
        """Sums of the first block's layers; empty if never measured."""
        entry = _read(self._folder / f"{_FIRST_BLOCK}.safetensors") or self.dense()
        return {name: sums for name, sums in entry.items() if name in names}

    def store_dense(self, sums: Mapping[str, SquareSums]) -> None:
        """Keep the sums of every layer."""
        _write(self._folder / f"{_ALL_BLOCKS}.safetensors", sums)

    def store_first_block(self, sums: Mapping[str, SquareSums]) -> None:
        """Keep the sums of the first block's layers."""
        _write(self._folder / f"{_FIRST_BLOCK}.safetensors", sums)


def _read(file: Path) -> dict[str, SquareSums]:
    if not file.is_file():
        return {}
    loaded: Any = mx.load(str(file), return_metadata=True)
    arrays, metadata = loaded
    tokens = json.loads(metadata["tokens"])
    return {name: SquareSums(sums, tokens[name]) for name, sums in arrays.items()}


def _write(file: Path, sums: Mapping[str, SquareSums]) -> None:
    # An expert's are the tokens that were routed to it.
    tokens = {name: entry.count for name, entry in sums.items()}
    arrays = {name: entry.sums for name, entry in sums.items()}
    with complete_file(file, shared=True) as opened:
        mx.save_safetensors(opened, arrays, metadata={"tokens": json.dumps(tokens)})
