"""The very source that MLX would hand to Metal, for every kernel, type and memory of its inputs.

MLX records a kernel, on machines without Metal too, when a function that calls it is exported, and prints the
source it generates where it is asked to be verbose. It prints past Python, so this file runs as a program.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PRINTED = re.compile(r"Generated source code for `[^`]*`:\n```\n(?P<source>.*?)\n```\n", re.DOTALL)
_NAME = re.compile(r'host_name\("(?P<name>[^"]+)"\)')
_LAUNCH = "launch: "


@dataclass(frozen=True)
class Recorded:
    """What was recorded.

    Attributes:
        sources: By the name of the function in Metal.
        launches: Each call's body, grid, threadgroup and input sizes.
    """

    sources: dict[str, str]
    launches: list[dict[str, Any]]


@cache
def recorded() -> Recorded:
    """Record every kernel on every shape of the self-check."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sources: dict[str, str] = {}
    for printed in _PRINTED.finditer(done.stdout):
        (name,) = set(_NAME.findall(printed["source"]))
        # MLX takes two kernels of one name for the same.
        assert sources.setdefault(name, printed["source"]) == printed["source"], name
    said = done.stderr.splitlines()
    launches = [json.loads(line.removeprefix(_LAUNCH)) for line in said if line.startswith(_LAUNCH)]
    return Recorded(sources, launches)


def _record() -> None:
    """Export a call of every kernel, telling its launches on stderr and its source on stdout."""
    import mlx.core as mx

    from mlx_prune.kernels import check, launch

    build = launch._kernel

    def talking(name: str, dialect: str) -> Any:
        def call(**arguments: Any) -> Any:
            told = {
                "body": name,
                "grid": arguments["grid"],
                "threadgroup": arguments["threadgroup"],
                "inputs": [array.size for array in arguments["inputs"]],
            }
            print(_LAUNCH + json.dumps(told), file=sys.stderr)  # noqa: T201
            return build(name, dialect)(**arguments, verbose=True)

        return call

    vars(launch).update(backend=lambda: "metal", _kernel=talking)
    with tempfile.TemporaryDirectory() as folder:
        for number, shape in enumerate(check.SHAPES):
            for dtype in check.TYPES:
                for function, call in check.FUNCTIONS.items():
                    inputs = mx.zeros(shape, dtype), mx.ones(shape[1:])
                    file = Path(folder) / f"{function}-{number}-{dtype.size}.mlxfn"
                    mx.export_function(str(file), lambda w, s, call=call: call(launch, w, s), *inputs)


if __name__ == "__main__":
    _record()
