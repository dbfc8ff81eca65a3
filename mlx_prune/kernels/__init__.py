"""GPU kernels: bodies in one dialect-neutral form, with a header each for Metal and CUDA.

``source`` assembles what MLX compiles; ``launch`` runs it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

# Names of inputs, template parameters and output of each body.
SIGNATURES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "square_sums": (("x",), ("T", "SLAB"), "partial"),
    "select_rows": (("weight", "scale", "k"), ("T",), "pruned"),
    "digit_counts": (("weight", "threshold"), ("T", "SHIFT", "CHUNK"), "counts"),
    "apply_threshold": (("weight", "threshold", "take", "ties"), ("T", "CHUNK"), "pruned"),
    "select_groups": (("weight", "scale", "counts"), ("T",), "pruned"),
}

# MLX passes a Metal builtin only if the body names it.
_ENTRY = {
    "metal": (
        "const uint tid = thread_position_in_threadgroup.x;\n"
        "const uint group_x = threadgroup_position_in_grid.x;\n"
        "const uint group_y = threadgroup_position_in_grid.y;\n"
    ),
    "cuda": (
        "const uint tid = threadIdx.x;\nconst uint group_x = blockIdx.x;\nconst uint group_y = blockIdx.y;\n"
    ),
}


@cache
def header(dialect: str) -> str:
    """What comes before the kernel function."""
    return _read(f"{dialect}.h") + _read("common.h")


@cache
def source(name: str, dialect: str) -> str:
    """The body of a kernel function."""
    return _ENTRY[dialect] + "(void)group_y;\n" + _read(f"{name}.inc")


def _read(file: str) -> str:
    return resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
