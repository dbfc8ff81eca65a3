"""``pytest --pretend-metal``: the package believes that MLX runs on Metal; MLX computes on this CPU.

So the paths of a Mac are taken without one: models stay in the type they are stored in, the kernels are
asked for sums and selections, limits follow from the GPU's memory. What a Mac's MLX can do and this one
cannot is put in its place. Processes that a test starts are not pretended to.
"""

from __future__ import annotations

import sys
from typing import Any

from mlx_prune import environment


def begin() -> None:
    """Let ``environment.backend`` say "metal", before anything else has taken it over by importing it."""
    early = [name for name, module in sys.modules.items() if hasattr(module, "backend")]
    early = [name for name in early if name.startswith("mlx_prune.") and name != environment.__name__]
    assert not early, f"{early} asked for the backend before the pretence began"
    environment.backend = lambda: "metal"
    _multiply_experts_in_any_type()
    _let_portable_operations_be_the_kernels()


def _multiply_experts_in_any_type() -> None:
    """MLX's CPU multiplies stacks of experts in float32 alone: do so, and round to the type of the inputs."""
    import mlx.core as mx

    in_float32 = mx.gather_mm

    def gather_mm(a: mx.array, b: mx.array, /, *args: Any, **kwargs: Any) -> mx.array:
        return in_float32(a.astype(mx.float32), b.astype(mx.float32), *args, **kwargs).astype(a.dtype)

    mx.gather_mm = gather_mm


def _let_portable_operations_be_the_kernels() -> None:
    """Kernels that run and agree, as they should on a Mac."""
    from mlx_prune.kernels import launch, portable

    for name in ("sum_of_squares", "prune_rows", "prune_matrix", "prune_groups"):
        setattr(launch, name, getattr(portable, name))
