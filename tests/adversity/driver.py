"""Runs many cases in one process of their own, which is replaced when one of them crashes or hangs it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from damages import Case

TESTS = Path(__file__).resolve().parent.parent
LIMIT_S = 20.0
# Loading a model and starting Python come on top for the first case of a process.
START_S = 40.0

Answer = dict[str, Any]


class Worker:
    """A process that runs cases, started when it is first needed."""

    def __init__(self, good: Path, scratch: Path) -> None:
        """Remember where things are."""
        self._words = [sys.executable, str(TESTS / "adversity" / "worker.py"), str(good), str(scratch)]
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def ask(self, name: str) -> Answer:
        """Run one case; a crash or a hang ends the process and is the answer."""
        fresh = self._process is None
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=LIMIT_S + (START_S if fresh else 0))
        except queue.Empty:
            self.stop()
            return {"name": name, "code": f"no end within {LIMIT_S:g} s", "out": "", "err": ""}
        if not line:
            code = self._process.wait()
            self._process = None
            return {"name": name, "code": f"the process died with {code}", "out": "", "err": ""}
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        paths = [str(TESTS / "support"), str(TESTS / "adversity")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "COLUMNS": "80",
            # No Hub: a name that is no folder must fail at once, without waiting for a network.
            "HF_HUB_OFFLINE": "1",
        }
        process = subprocess.Popen(
            self._words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answers = queue.Queue()
        threading.Thread(target=_forward, args=(process, self._answers), daemon=True).start()
        return process


def _forward(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def faults(case: Case, answer: Answer) -> list[str]:
    """What is wrong with how a command met a bad input; nothing if it met it well."""
    code, said = answer["code"], answer["out"] + answer["err"]
    found = []
    done = (0, 3, 4) if case.name.endswith("gate") else (0,)
    if code not in (*case.codes, *(done if 0 in case.codes else ())):
        found.append(f"exit code {code}")
    if "Traceback" in said:
        found.append("a traceback")
    if "unexpected" in said:
        found.append("an unexpected error")
    # A gate that fails or is undecided has done its work.
    if isinstance(code, int) and code in (1, 2):
        sentences = [line for line in answer["err"].splitlines() if line.startswith("Error: ")]
        if len(sentences) != 1 or len(sentences[0]) < 15:
            found.append("no single sentence")
        if len("".join(sentences)) > 1500:
            found.append("a sentence of pages")
    if answer.get("seconds", 0) > LIMIT_S:
        found.append("too slow")
    return found


def run_all(cases: Sequence[Case], good: Path, scratch: Path) -> Iterator[tuple[Case, Answer, list[str]]]:
    """Run cases and judge them."""
    worker = Worker(good, scratch)
    try:
        for case in cases:
            answer = worker.ask(case.name)
            yield case, answer, faults(case, answer)
    finally:
        worker.stop()
