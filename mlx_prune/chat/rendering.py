"""Render a chat template, which is foreign code, with limits on its time, memory and output.

A template can loop for ever or build gigabytes, and inside this process nothing could stop it. One process
beside it (``rendering_worker``) renders all templates, and is ended when it takes too long.
"""

from __future__ import annotations

import atexit
import json
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mlx_prune.errors import CheckpointError

SECONDS = 5.0
CHARACTERS = 1_000_000
MEMORY = 1 << 30
# Some templates print the date. A fixed one keeps runs reproducible; this is Llama 3.1's own default.
DATE = datetime(2024, 7, 26)

_WORKER = Path(__file__).with_name("rendering_worker.py")
_ADVICE = "use a checkpoint with a sound template, or remove the template to ask in plain text"


class TemplateRefusedError(Exception):
    """The template raised: it refuses the messages, or is not Jinja."""


def render(template: str, messages: Sequence[Mapping[str, str]], variables: Mapping[str, Any]) -> str:
    """Render a chat template as ``apply_chat_template`` of transformers does.

    Args:
        template: Jinja source.
        messages: Role and content of each.
        variables: What else the template can see.

    Returns:
        The text.

    Raises:
        TemplateRefusedError: The template raised.
        CheckpointError: It takes too long or too much memory, or its text is too long.
    """
    request = {
        "template": template,
        "messages": list(messages),
        "variables": dict(variables),
        "date": DATE.isoformat(),
        "seconds": SECONDS,
        "characters": CHARACTERS,
    }
    answer = _PROCESS.ask(request)
    if "refused" in answer:
        raise TemplateRefusedError(answer["refused"])
    if "too_long" in answer:
        raise CheckpointError(
            f"The chat template builds more than {CHARACTERS:,} characters for one question; {_ADVICE}."
        )
    text: str = answer["text"]
    return text


class _Process:
    """The process that renders; started when it is first needed, and again after it was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its answer to one request."""
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                while not select.select([process.stdout], [], [], 0.5)[0]:
                    if _resident_bytes(process.pid) > MEMORY:
                        raise CheckpointError(
                            f"The chat template takes more than {MEMORY >> 20:,} MB of memory; {_ADVICE}."
                        )
                line = process.stdout.readline()
                if not line:
                    raise _ended(process.wait())
            except BrokenPipeError:
                code = process.wait()
                self.end()
                raise _ended(code) from None
            except BaseException:
                # An answer that nobody waited for would be taken for the next one's.
                self.end()
                raise
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End it, whatever it does."""
        process, self._running = self._running, None
        if process is not None:
            process.kill()
            process.communicate()

    def _started(self) -> subprocess.Popen[str]:
        if self._running is None:
            self._running = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER), str(MEMORY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
        return self._running


def _resident_bytes(process: int) -> int:
    """Memory of a process, as ``ps`` tells it on Linux and macOS alike; 0 on a machine without it."""
    asked = ["ps", "-o", "rss=", "-p", str(process)]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # small Linux images lack ps; there the process limits itself
        return 0
    return 1024 * int(told) if told.isdigit() else 0


def _ended(code: int) -> CheckpointError:
    if code == -signal.SIGPROF:
        return CheckpointError(
            f"The chat template runs for more than {SECONDS:g} seconds on one question; {_ADVICE}."
        )
    return CheckpointError(f"Rendering the chat template failed (exit code {code}); {_ADVICE}.")


_PROCESS = _Process()
atexit.register(_PROCESS.end)
