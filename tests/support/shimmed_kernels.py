"""Compile the GPU kernels with the system's C++ compiler against small shims of Metal and CUDA, and run them.

``launcher`` stands in for ``launch._run``: it takes the same arguments and runs the same source, on the CPU.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_prune.activations import cache as statistics_cache
from mlx_prune.kernels import SIGNATURES, choice, header, launch, source, sums, zeroing
from mlx_prune.kernels.launch import CHUNK, SLAB

SHIM = Path(__file__).parent / "kernel_shim"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

_TYPES = {mx.float32: "float", mx.float16: "half_type", mx.bfloat16: "bfloat_type", mx.uint32: "uint32_t"}
_BITS = {mx.float32: mx.uint32, mx.float16: mx.uint16, mx.bfloat16: mx.uint16, mx.uint32: mx.uint32}
_ARGUMENTS = {
    "square_sums": ["const T* x", "const int* x_shape", "float* partial"],
    "select_rows": [
        "const T* weight",
        "const int* weight_shape",
        "const float* scale",
        "const uint* k",
        "T* pruned",
    ],
    "digit_counts": ["const T* weight", "const int* weight_shape", "const uint* threshold", "uint* counts"],
    "apply_threshold": [
        "const T* weight",
        "const int* weight_shape",
        "const uint* threshold",
        "const uint* take",
        "const uint* ties",
        "T* pruned",
    ],
    "select_groups": [
        "const T* weight",
        "const int* weight_shape",
        "const float* scale",
        "const uint* counts",
        "T* pruned",
    ],
}
_CONSTANTS: dict[str, dict[str, tuple[int, ...]]] = {
    "square_sums": {"SLAB": (SLAB,)},
    "select_rows": {},
    "digit_counts": {"SHIFT": (0, 8, 16, 24), "CHUNK": (CHUNK,)},
    "apply_threshold": {"CHUNK": (CHUNK,)},
    "select_groups": {},
}


KINDS = ("float", "half_type", "bfloat_type")


Array = np.ndarray[Any, np.dtype[Any]]
# Runs a kernel by its symbol on so many groups; the last array is its output.
Call = Callable[[str, tuple[int, int], list[Array]], None]


def symbol(name: str, kind: str, constants: tuple[int, ...]) -> str:
    """Name of a kernel in the translation unit."""
    return "_".join(["run", name, kind, *map(str, constants)])


def translation_unit(
    dialect: str, kinds: Sequence[str] = KINDS, names: Sequence[str] = tuple(_ARGUMENTS)
) -> str:
    """One C++ file with kernels, for every constant.

    Args:
        dialect: "metal" or "cuda".
        kinds: Types of the matrices, among :data:`KINDS`.
        names: The bodies.
    """
    # The system headers of the language itself come from the shim.
    lines = [line for line in header(dialect).splitlines() if not line.startswith("#include <metal")]
    parts = [f'#include "{dialect}.h"', *lines]
    for name in names:
        arguments = _ARGUMENTS[name]
        parameters = ["typename T", *(f"int {constant}" for constant in _CONSTANTS[name])]
        parts.append(f"template <{', '.join(parameters)}>\nvoid {name}({', '.join(arguments)}) {{")
        parts.append(source(name, dialect) + "}")
        values = ", ".join(argument.split()[-1] for argument in arguments)
        for kind in kinds:
            typed = ", ".join(argument.replace("T*", f"{kind}*") for argument in arguments)
            for constants in itertools.product(*_CONSTANTS[name].values()):
                instance = ", ".join([kind, *map(str, constants)])
                parts.append(
                    f'extern "C" void {symbol(name, kind, constants)}'
                    f"(unsigned gx, unsigned gy, {typed}) {{\n"
                    f"  shim::launch(gx, gy, 256, [&] {{ {name}<{instance}>({values}); }});\n}}"
                )
    return "\n".join(parts)


def instances(kinds: Sequence[str] = KINDS, names: Sequence[str] = tuple(_ARGUMENTS)) -> dict[str, int]:
    """The symbols of a translation unit, each with the number of its pointers."""
    return {
        symbol(name, kind, constants): len(_ARGUMENTS[name])
        for name in names
        for kind in kinds
        for constants in itertools.product(*_CONSTANTS[name].values())
    }


@cache
def shim(dialect: str) -> Callable[..., mx.array]:
    """What takes the place of ``launch._run``; built once."""
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    with tempfile.TemporaryDirectory() as folder:
        return launcher(in_library(compile_kernels(dialect, Path(folder))))


def pretend_gpu(
    patch: pytest.MonkeyPatch, dialect: str = "metal", run: Callable[..., mx.array] | None = None
) -> None:
    """Let the package believe that it runs on a GPU whose kernels nobody has checked yet.

    Args:
        patch: Undoes it.
        dialect: "metal" or "cuda".
        run: What launches kernels; by default the shim.
    """
    patch.setattr(launch, "_run", run or shim(dialect))
    patch.setattr(choice, "_decided", {})
    for module in (choice, launch, sums, zeroing, statistics_cache):
        patch.setattr(module, "backend", lambda: dialect)


def compile_kernels(dialect: str, folder: Path) -> ctypes.CDLL:
    """Build and load the kernels of one dialect."""
    assert COMPILER is not None
    unit, library = folder / f"{dialect}.cpp", folder / f"{dialect}.so"
    unit.write_text(translation_unit(dialect))
    options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wno-unused-variable", "-ffp-contract=off"]
    command = [COMPILER, *options, f"-I{SHIM}", str(unit), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def in_library(library: ctypes.CDLL) -> Call:
    """Call kernels of a loaded library."""

    def call(symbol: str, groups: tuple[int, int], arrays: list[Array]) -> None:
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
        getattr(library, symbol)(*map(ctypes.c_uint, groups), *pointers)

    return call


def launcher(call: Call) -> Callable[..., mx.array]:
    """A function to put in the place of ``mlx_prune.kernels.launch._run``."""

    def run(
        name: str,
        inputs: list[mx.array],
        template: list[tuple[str, Any]],
        groups: tuple[int, int],
        shape: tuple[int, ...],
        dtype: mx.Dtype,
    ) -> mx.array:
        names, _, _ = SIGNATURES[name]
        assert len(inputs) == len(names)
        kind = _TYPES[template[0][1]]
        constants = tuple(value for _, value in template[1:])
        result: Array = np.full(shape, 0x7B, dtype=np.uint32 if dtype.size == 4 else np.uint16)
        held = [np.array(values.view(_BITS[values.dtype])) for values in inputs]
        call(
            symbol(name, kind, constants),
            groups,
            [held[0], np.array(inputs[0].shape, np.int32), *held[1:], result],
        )
        return mx.array(result).view(dtype)

    return run
