"""What a terminal shows of a long command."""

from __future__ import annotations

import io
import sys

import pytest

from mlx_prune.cli.terminal.progress import _rate, progress_bars
from mlx_prune.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("speed", "shown"), [(None, ""), (0, ""), (1234.5, "1,234.5/s"), (1, "1.0/s"), (0.02, "50 s each")]
)
def test_a_rate_is_units_in_a_second_or_seconds_of_a_unit(speed: float | None, shown: str) -> None:
    assert _rate(speed) == shown


def test_the_time_left_is_told_however_long_a_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with progress_bars() as progress:
        for done in range(4):
            progress(Progress("prune", done, 30))
            clock[0] += 50
    shown = sys.stderr.getvalue()
    assert "50 s each" in shown
    assert "0:22:30" in shown  # 27 more


def test_nothing_is_shown_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress(Progress("prune", 1, 3))
    assert capsys.readouterr() == ("", "")
