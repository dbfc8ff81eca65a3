"""What Metal refuses of a source that no other compiler does, told from its text."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import mlx.core as mx

MOST_SHARED = 32 << 10  # bytes of threadgroup memory on every Apple GPU
MOST_BUFFERS = 31

_INCLUDES = Path(mx.__file__).parent / "include"
_PREAMBLE = "mlx/backend/metal/kernels/utils.h"  # goes in front of every kernel
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SHARED = re.compile(r"\bMP_SHARED\s+\w+\s+\w+\[(\d+)\]")
_DECLARED = re.compile(r"\b(?:bool|int|uint|float|size_t|T)\s+(\w+)\s*[=;,\[]")
# Metal Shading Language Specification, "Restrictions" and what C++14 has that it leaves out.
_LEFT_OUT = ("double", "goto", "new", "delete", "virtual", "asm", "thread_local", "register", "typeid")
_LEFT_OUT_TOO = {r"\blong\s+long\b": "long long", r"\bstd::": "std", r"\[[&=]?\]\s*\(": "a lambda"}
_RESERVED = {
    *("kernel", "vertex", "fragment", "visible", "stitchable", "intersection", "object", "mesh"),
    *("device", "constant", "thread", "threadgroup", "threadgroup_imageblock", "ray_data", "object_data"),
    *("sampler", "texture", "half", "bfloat", "ushort", "uchar", "ulong", "metal"),
}


def faults(source: str) -> list[str]:
    """What is wrong with a source as MLX generates it."""
    found = []
    if not source.isascii():
        found.append("it is not ASCII, and MLX hands it to Metal as such")
    code = _COMMENT.sub("", source)
    words = set(re.findall(r"[A-Za-z_]\w*", code))
    found += [f"Metal has no {word}" for word in _LEFT_OUT if word in words]
    found += [f"Metal has no {what}" for pattern, what in _LEFT_OUT_TOO.items() if re.search(pattern, code)]
    found += [f"{name} is a word of Metal" for name in _DECLARED.findall(code) if name in _RESERVED]
    found += [f"{name} is a macro of MLX" for name in sorted(words & preamble_macros())]
    shared = 4 * sum(map(int, _SHARED.findall(code)))  # all of it 32-bit words
    if shared > MOST_SHARED:
        found.append(f"{shared:,} bytes of threadgroup memory")
    buffers = [int(number) for number in re.findall(r"\[\[buffer\((\d+)\)\]\]", code)]
    if buffers != list(range(len(buffers))) or len(buffers) > MOST_BUFFERS:
        found.append(f"buffers {buffers}")
    return found


@cache
def preamble_macros() -> frozenset[str]:
    """Macros that MLX defines before a kernel, as far as this installation has its headers."""
    found: set[str] = set()
    waiting, seen = [_PREAMBLE], set()
    while waiting:
        name = waiting.pop()
        if name in seen or not (_INCLUDES / name).is_file():
            continue
        seen.add(name)
        text = (_INCLUDES / name).read_text(encoding="utf-8")
        found |= set(re.findall(r"^\s*#\s*define\s+(\w+)", text, re.MULTILINE))
        waiting += re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE)
    return frozenset(found)
