"""Run the GPU kernels under a sanitizer, one real thread for each of a GPU's.

A program is built of their bodies and called once per launch; what the sanitizer says is an error.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from shimmed_kernels import COMPILER, SHIM, Array, Call, instances, launcher, translation_unit

_OPTIONS = ("-std=c++17", "-O1", "-g", "-pthread", "-DSHIM_THREADS", "-ffp-contract=off", "-w", f"-I{SHIM}")
_PATIENCE_S = 30
_PROBE = "#include <thread>\nint main() { std::thread([] {}).join(); }\n"
# Before the shim makes words of Metal unusable as names.
_INCLUDES = (
    "#include <cstdio>\n#include <cstdlib>\n#include <string>\n#include <utility>\n#include <vector>\n"
)
# Reads each array, runs the kernel and writes the last array back, which it must stay inside of.
_MAIN = """
template <typename... P, size_t... I>
void shim_call(void (*run)(unsigned, unsigned, P...), unsigned gx, unsigned gy, std::vector<void *> &a,
               std::index_sequence<I...>) {
  run(gx, gy, static_cast<P>(a[I])...);
}
int main(int count, char **words) {
  const std::string symbol = words[1];
  const unsigned gx = std::strtoul(words[2], nullptr, 10), gy = std::strtoul(words[3], nullptr, 10);
  std::vector<void *> a;
  std::vector<size_t> sizes;
  std::FILE *file = std::fopen(words[4], "rb");
  for (uint64_t size; std::fread(&size, 8, 1, file) == 1;) {
    a.push_back(std::malloc(size));
    sizes.push_back(size);
    if (std::fread(a.back(), 1, size, file) != size) return 3;
  }
  std::fclose(file);
  DISPATCH
  file = std::fopen(words[4], "wb");
  std::fwrite(a.back(), 1, sizes.back(), file);
  std::fclose(file);
  for (void *array : a) std::free(array);
}
"""


class SanitizerError(AssertionError):
    """What a sanitizer says against a kernel."""


@cache
def threaded(
    sanitizer: str, dialect: str, kinds: Sequence[str], names: Sequence[str]
) -> Callable[..., mx.array]:
    """What takes the place of ``launch._run``, built once; a skip where sanitizers do not work.

    Args:
        sanitizer: "thread" or "address,undefined".
        dialect: "metal" or "cuda".
        kinds: Types of the matrices.
        names: The bodies.
    """
    return build(sanitizer, translation_unit(dialect, kinds, names), instances(kinds, names))


def build(sanitizer: str, unit: str, symbols: dict[str, int]) -> Callable[..., mx.array]:
    """As :func:`threaded`, of a translation unit and its symbols."""
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("needs a C++ compiler on Linux")
    folder = Path(tempfile.mkdtemp(prefix="mlx-prune-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if _compiled(sanitizer, _PROBE, folder / "probe") or _said([str(folder / "probe")]):
        pytest.skip(f"{COMPILER} -fsanitize={sanitizer} makes no program that runs here")
    dispatch = "".join(
        f'if (symbol == "{name}") shim_call({name}, gx, gy, a, std::make_index_sequence<{pointers}>());\n  '
        for name, pointers in symbols.items()
    )
    text = _INCLUDES + unit + _MAIN.replace("DISPATCH", dispatch)
    fault = _compiled(sanitizer, text, folder / "kernels")
    assert not fault, fault
    return launcher(in_program(folder / "kernels"))


def in_program(program: Path) -> Call:
    """Call kernels of a program."""

    def call(symbol: str, groups: tuple[int, int], arrays: list[Array]) -> None:
        with tempfile.NamedTemporaryFile() as file:
            for array in arrays:
                file.write(np.uint64(array.nbytes).tobytes() + array.tobytes())
            file.flush()
            said = _said([str(program), symbol, *map(str, groups), file.name])
            if said:
                raise SanitizerError(said)
            result = arrays[-1]
            result[...] = np.frombuffer(Path(file.name).read_bytes(), result.dtype).reshape(result.shape)

    return call


def _compiled(sanitizer: str, text: str, program: Path) -> str:
    unit = program.with_suffix(".cpp")
    unit.write_text(text)
    command = [str(COMPILER), *_OPTIONS, f"-fsanitize={sanitizer}", "-fno-sanitize-recover=undefined"]
    done = subprocess.run(
        [*command, str(unit), "-o", str(program)], capture_output=True, text=True, check=False
    )
    return done.stderr or "no program" if done.returncode else ""


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"not done after {_PATIENCE_S} seconds"
    return done.stderr or f"exit code {done.returncode}" if done.returncode or done.stderr else ""
