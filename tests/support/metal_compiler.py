"""Judge Metal sources with clang: as C++14 and C++17 (Metal 3 and 4), and as OpenCL C++.

C++ keeps MLX's templates, and its address spaces (``kernel_shim/msl``) are types of their own. OpenCL C++ has
no template kernels, so there the arguments are written out; it knows what a kernel is, and allows threadgroup
memory only where Metal does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

MSL = Path(__file__).parent / "kernel_shim" / "msl"
OLDEST = 14  # that has OpenCL C++ 2021
STANDARDS = ("c++14", "c++17", "opencl")

_WARNINGS = ("shadow", "uninitialized", "sometimes-uninitialized", "shift-count-overflow", "unused-value")
_OPTIONS = (
    *("-fsyntax-only", "-nostdinc", f"-I{MSL}", "-Wno-unknown-attributes", "-Wno-ignored-attributes"),
    *(f"-Werror={warning}" for warning in _WARNINGS),
)
_LANGUAGES = {
    "c++14": ("-x", "c++", "-std=c++14", "-fno-exceptions", "-fno-rtti"),
    "c++17": ("-x", "c++", "-std=c++17", "-fno-exceptions", "-fno-rtti"),
    "opencl": (
        *("-x", "cl", "-cl-std=clc++2021", "-cl-no-stdinc", "-target", "spir64"),
        *("-Xclang", "-cl-ext=+cl_khr_fp16"),
    ),
}
# What a clang must know before it can judge anything.
_PROBE = """
enum class small : unsigned short {};
float wide(const __attribute__((opencl_global)) small *from) { return static_cast<float>(from[0]); }
"""
_TEMPLATE = re.compile(r"^template <(?P<parameters>[^>]*)>\n", re.MULTILINE)
_INSTANCE = re.compile(r"\ntemplate \[\[host_name.*?decltype\(\w+<(?P<arguments>[^>]*)>\)[^;]*;", re.DOTALL)
_ATTRIBUTE = re.compile(r"\s*\[\[\w+(?:\(\w+\))?\]\]")


@cache
def clang() -> str:
    """A clang that can do all of it, or a skip that says why there is none."""
    names = ["clang", *(f"clang-{version}" for version in range(40, OLDEST - 1, -1))]
    tried = []
    for path in filter(None, map(shutil.which, names)):
        faults = [
            standard for standard in STANDARDS if _run(path, [*_LANGUAGES[standard], "-fsyntax-only"], _PROBE)
        ]
        if not faults:
            return path
        tried.append(f"{path} cannot do {', '.join(faults)}")
    pytest.skip(
        "; ".join(tried) or f"no clang; `apt-get install clang` brings one (version {OLDEST} or later)"
    )


def faults(standard: str, sources: Mapping[str, str]) -> str:
    """What clang says against some sources, compiled together; nothing if they are sound.

    Args:
        standard: One of :data:`STANDARDS`.
        sources: As MLX generates them, by a name for messages.
    """
    change = as_opencl if standard == "opencl" else as_cpp
    unit = ["#include <metal_stdlib>"]
    for name, source in sources.items():
        unit += [f'# 1 "{name}"', change(source)]
    return _run(clang(), [*_LANGUAGES[standard], *_OPTIONS], "\n".join(unit) + "\n")


def as_cpp(source: str) -> str:
    """C++ lets only static variables lie in an address space, where Metal lets a kernel's own."""
    instantiated = re.sub(r"template \[\[host_name\([^)]*\)\]\] \[\[kernel\]\]", "template", source)
    return instantiated.replace("#define MP_SHARED threadgroup", "#define MP_SHARED static threadgroup")


def as_opencl(source: str) -> str:
    """The template's arguments written out at the beginning of the kernel."""
    parameters, arguments = _TEMPLATE.search(source), _INSTANCE.search(source)
    assert parameters
    assert arguments
    given = []
    pairs = zip(parameters["parameters"].split(", "), arguments["arguments"].split(", "), strict=True)
    for parameter, argument in pairs:
        kind, name = parameter.split()
        given.append(
            f"typedef {argument} {name};" if kind == "typename" else f"const {kind} {name} = {argument};"
        )
    source = _INSTANCE.sub("", _TEMPLATE.sub("", source, count=1))
    source = _ATTRIBUTE.sub("", source.replace("[[kernel]]", "__kernel"))
    return re.sub(r"\) \{\n", lambda found: found[0] + " ".join(given) + "\n", source, count=1)


def _run(path: str, options: list[str], text: str) -> str:
    done = subprocess.run([path, *options, "-"], input=text, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""
