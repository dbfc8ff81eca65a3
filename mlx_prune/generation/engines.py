"""The engines by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlx_prune.errors import DataError
from mlx_prune.generation.interface import Engine, GenerationSettings

if TYPE_CHECKING:
    import mlx.nn as nn

ENGINES = ("batched", "sequential")


def make_engine(
    name: str,
    model: nn.Module,
    tokenizer: Any,
    settings: GenerationSettings,
    *,
    batch_size: int | None = None,
) -> Engine:
    """An engine for a model.

    Args:
        name: "batched" (shared prefills and prefixes) or "sequential" (one timed answer at a time).
        model: An mlx-lm model.
        tokenizer: Its mlx-lm ``TokenizerWrapper``.
        settings: How answers are drawn.
        batch_size: Items in flight at once; None lets the engine choose.

    Raises:
        DataError: The name or the batch size makes no sense.
    """
    if name not in ENGINES:
        raise DataError(f"engine is {name!r}; choose 'batched' or 'sequential'.")
    if batch_size is not None and batch_size < 1:
        raise DataError(f"batch size is {batch_size}; it must be at least 1.")
    if name == "sequential":
        from mlx_prune.generation.sequential import SequentialEngine

        return SequentialEngine(model, tokenizer, settings, batch_size=batch_size)
    from mlx_prune.generation.batched import BatchedEngine

    return BatchedEngine(model, tokenizer, settings, batch_size=batch_size)
