"""Run a command in this process, as the tests of several commands do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlx_prune.cli.main import run

Capture = pytest.CaptureFixture[str]


def done(arguments: list[Any], capsys: Capture) -> dict[str, Any]:
    """Run a command that must succeed with --json; its stdout must be that one object."""
    capsys.readouterr()
    code = run([str(a) for a in [*arguments, "--json"]])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    payload = json.loads(captured.out)
    assert isinstance(payload, dict)
    return payload
