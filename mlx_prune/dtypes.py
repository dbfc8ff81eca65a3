"""Types of numbers: what safetensors and MLX call them, how wide they are, what carries their bits.

Importing this takes no MLX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mlx.core as mx

# What models compute in; "auto" is the checkpoint's own type on a GPU and float32 on a CPU.
DTYPES = ("auto", "float32", "bfloat16", "float16")

# MLX's names of the types that weights are pruned in, by safetensors' names.
FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# The same for all types that are copied, and the bytes of all that safetensors knows.
NAMES = {
    **FLOATS,
    "U32": "uint32",
    "I32": "int32",
    "U8": "uint8",
    "I8": "int8",
    "I64": "int64",
    "BOOL": "bool",
}
WIDTHS = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
# The unsigned type of as many bytes, by NumPy's and MLX's common name (NumPy has no bfloat16).
UNSIGNED = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}

# All bits of a float but its sign, and those of infinity; the magnitudes order as unsigned integers do.
MAGNITUDE = {"float32": 0x7FFFFFFF, "bfloat16": 0x7FFF, "float16": 0x7FFF}
INFINITY = {"float32": 0x7F800000, "bfloat16": 0x7F80, "float16": 0x7C00}


def type_name(dtype: mx.Dtype) -> str:
    """MLX's name of a type, such as "float32"."""
    return str(dtype).rpartition(".")[2]


def stored_name(dtype: mx.Dtype) -> str:
    """What safetensors calls a type of MLX."""
    return next(stored for stored, name in NAMES.items() if name == type_name(dtype))


def mlx_type(stored: str) -> mx.Dtype:
    """MLX's type of safetensors' name."""
    import mlx.core as mx

    found: mx.Dtype = getattr(mx, NAMES[stored])
    return found


def bits_of(values: mx.array) -> mx.array:
    """The same memory as unsigned integers."""
    import mlx.core as mx

    return values.view(getattr(mx, UNSIGNED[values.dtype.size]))
