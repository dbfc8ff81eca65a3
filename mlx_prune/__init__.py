"""Prune language models on Apple silicon and measure what pruning did to them.

The names below are the public interface; each is imported from its module on first use, so that
``import mlx_prune`` loads neither MLX nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlx_prune import _blas

__version__ = "0.1.0"

_blas.preload()

_EXPORTS: dict[str, str] = {
    "BenchResult": "mlx_prune.measures.latency_result",
    "MlxPruneError": "mlx_prune.errors",
    "bench": "mlx_prune.study.latency_run",
}

__all__ = ["BenchResult", "MlxPruneError", "__version__", "bench"]

if TYPE_CHECKING:
    from mlx_prune.errors import MlxPruneError
    from mlx_prune.measures.latency_result import BenchResult
    from mlx_prune.study.latency_run import bench


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'mlx_prune' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_EXPORTS))
