"""How many items to have in flight: from the model's size and the memory that is free."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_prune.environment import backend, physical_memory
from mlx_prune.shares import memory_sharers

# More rows stop paying where the arithmetic units are busy: soon on a CPU, later on a GPU.
_MOST_ITEMS = {"cpu": 128, "metal": 128, "cuda": 256}
_SHARE_OF_FREE = 0.3


def free_memory() -> int:
    """Bytes that can be used without paging: of the GPU where there is one, else of the machine."""
    if backend() != "cpu":
        info = mx.device_info()
        limit = info.get("max_recommended_working_set_size") or info.get("total_memory") or physical_memory()
        return max(0, int(limit) - mx.get_active_memory())
    if sys.platform == "linux":
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return physical_memory() // 2


def choose_batch_size(
    model: nn.Module, *, cache_bytes_per_token: int, prompt_tokens: int, vocabulary: int, seeds: int
) -> int:
    """Items in flight that fit in a third of the free memory, at most what still makes things faster.

    Args:
        model: Its blocks' activations are estimated from its widest weights.
        cache_bytes_per_token: Of all layers together.
        prompt_tokens: Length of the longest prompt, with the answer.
        vocabulary: Length of the logits.
        seeds: Decode rows per item at worst.
    """
    widths = [max(weight.shape) for _, weight in tree_flatten(model.parameters()) if weight.ndim == 2]
    widest = max([width for width in widths if width != vocabulary], default=1)
    # Two copies of the decode rows exist while rows are dropped, beside the rows of the prompts themselves.
    cache = cache_bytes_per_token * prompt_tokens * (2 + 2 * seeds)
    # Eight arrays of the widest layer's width, and the scores of 32 attention heads, in float32.
    activations = prompt_tokens * (widest * 8 + prompt_tokens * 32) * 4
    scores = vocabulary * 4 * (2 + seeds)
    fitting = int(free_memory() * _SHARE_OF_FREE / memory_sharers() / (cache + activations + scores))
    return max(1, min(_MOST_ITEMS[backend()], fitting))
