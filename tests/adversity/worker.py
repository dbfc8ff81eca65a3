"""Runs cases one after another: reads their names from stdin, writes a line of JSON for each to stdout."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bad_things import cases

from mlx_prune.cli.main import run


def main() -> None:
    """Serve until stdin ends; what the commands print themselves, from C too, goes to stderr's file."""
    good = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    known = {case.name: case for case in cases()}
    for line in sys.stdin:
        name = line.rstrip("\n")
        place = Path(tempfile.mkdtemp(dir=sys.argv[2]))
        os.chdir(place)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            words = known[name].build(good, place)
            started = time.monotonic()
            try:
                code: int | str = run(words)
            except BaseException as error:
                code = f"{type(error).__name__}: {error}"
        answer = {
            "name": name,
            "code": code,
            "seconds": time.monotonic() - started,
            "out": out.getvalue()[-2000:],
            "err": err.getvalue()[-4000:],
            "words": words,
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        os.chdir("/")
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
