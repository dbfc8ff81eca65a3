"""Peak memory of a prune at several depths, in the terms of one block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import load


def peaks_by_depth(
    depths: tuple[int, int], save: Callable[[int], Path], prune: Callable[[Path, int], Any]
) -> tuple[dict[int, int], int]:
    """Prune a model at two depths, and check that the peak does not grow and that nothing stays in memory.

    When MLX lets a matrix go depends on how fast others are computed, so a peak is known to within a block;
    what is kept of every block must add up to more between the two depths to be seen.

    Args:
        depths: Numbers of blocks, few and many.
        save: Writes the model of a depth.
        prune: Prunes a model of a depth; its report has ``peak_memory_bytes``.

    Returns:
        Peak bytes beyond what was held before, by depth; and the float32 bytes of a block's linears.
    """
    peaks, block = {}, 0
    for depth in depths:
        source = save(depth)
        linears = prunable_linears(load(source, lazy=True).model)
        block = 4 * sum(linear.size for linear in linears) // depth
        del linears
        mx.clear_cache()
        before = mx.get_active_memory()
        peaks[depth] = prune(source, depth).peak_memory_bytes - before
        assert mx.get_active_memory() - before < 0.1 * block
    few, many = depths
    assert peaks[many] < peaks[few] + block
    return peaks, block


def save_deep_model(folder: Path, depth: int) -> Path:
    """A Llama whose blocks are large beside everything else a prune holds."""
    sizes = {"hidden_size": 256, "head_dim": 64, "num_attention_heads": 4, "intermediate_size": 700}
    return save_tiny_model(folder, "llama", **sizes, num_hidden_layers=depth)
