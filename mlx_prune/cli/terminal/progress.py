"""What is shown while a command works: bars of its steps, or the grid of a study; silent off a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlx_prune import words
from mlx_prune.cli.terminal.console import note
from mlx_prune.outside_names import plain
from mlx_prune.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID

    from mlx_prune.configuration import Configuration
    from mlx_prune.study.config import StudyConfig
    from mlx_prune.study.runner import StudyEvent

# Sign and style of each state.
_MARKS = {"waiting": ("·", "dim"), "running": ("▸", "yellow"), "done": ("✓", "green"), "there": ("✓", "cyan")}


# Seconds whose pace the time left is estimated from. Rich's own 30 are less than a block of a model may take,
# and from one report nothing is estimated.
_PACE_OF = 3600.0


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Rich progress bars on stderr, one per stage, with rate and time left."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
    )
    from mlx_prune.cli.terminal.plain import PlainConsole

    console = PlainConsole(stderr=True)
    with Bars(*columns, console=console, transient=True, speed_estimate_period=_PACE_OF) as bars:
        tasks: dict[str, TaskID] = {}

        def show(report: Progress) -> None:
            task = tasks.get(report.stage)
            if task is None or report.done < bars.tasks[task].completed:
                task = tasks[report.stage] = bars.add_task(
                    plain(report.stage), total=report.total, rate="", detail=""
                )
            bars.update(task, completed=report.done, total=report.total, detail=plain(report.detail))
            speed = bars.tasks[task].speed
            bars.update(task, rate=_rate(speed))

        yield show


def _rate(speed: float | None) -> str:
    """Units in a second, or seconds of a unit: 12.5/s, 48 s each."""
    if not speed:
        return ""
    return f"{speed:,.1f}/s" if speed >= 1 else f"{words.duration(1 / speed)} each"


@contextmanager
def study_view(
    config: StudyConfig, labels: list[str]
) -> Iterator[tuple[ProgressCallback, Callable[[StudyEvent], None]]]:
    """Show a study while it runs; away from a terminal, one line per finished configuration on stderr."""
    if not sys.stderr.isatty():
        yield silent, _line
        return
    from rich.live import Live

    from mlx_prune.cli.terminal.plain import PlainConsole

    view = _View(config, labels)
    with Live(view, console=PlainConsole(stderr=True), refresh_per_second=4, transient=True):
        yield view.step, view.event


def _line(event: StudyEvent) -> None:
    if event.state == "done":
        note(f"{event.name.model} {event.name.folder}: done")


class _View:
    """The state of the grid; Rich renders it several times a second."""

    def __init__(self, config: StudyConfig, labels: list[str]) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        self._states = {name: "waiting" for label in labels for name in config.configurations(label)}
        self._started = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            speed_estimate_period=_PACE_OF,
        )
        self._overall = self._bars.add_task("configurations", total=len(self._states), note="")
        # By configuration, as several may be at work; the stage that its bar shows.
        self._at_work: dict[str, tuple[TaskID, str]] = {}

    def event(self, event: StudyEvent) -> None:
        """A configuration started or ended."""
        self._states[event.name] = event.state
        if event.state == "done" and event.name.folder in self._at_work:
            self._bars.remove_task(self._at_work.pop(event.name.folder)[0])
        states = list(self._states.values())
        finished = sum(state in ("done", "there") for state in states)
        made = states.count("done")
        left = ""
        if made:
            seconds = (time.monotonic() - self._started) / made * (len(states) - finished)
            left = f"about {words.duration(seconds)} left"
        self._bars.update(self._overall, completed=finished, note=left)

    def step(self, report: Progress) -> None:
        """The step at hand moved on."""
        name = report.stage.partition(":")[0]
        if name not in self._at_work:
            self._at_work[name] = self._bars.add_task("", total=None, note=""), report.stage
        task, stage = self._at_work[name]
        if report.stage != stage:
            self._at_work[name] = task, report.stage
            self._bars.reset(task)
        self._bars.update(task, description=plain(report.stage), completed=report.done, total=report.total)
        speed = next(found.speed for found in self._bars.tasks if found.id == task)
        self._bars.update(task, note=_rate(speed))

    def __rich__(self) -> RenderableType:
        """The grid above the bars."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        rows: dict[tuple[str, str], list[Text]] = {}
        for name, state in self._states.items():
            cells = rows.setdefault((name.model, name.prune_method), [])
            cells.append(Text.assemble(_MARKS[state], f" {_short(name)}"))
        shown = ""
        for (model, method), cells in rows.items():
            table.add_row(model if model != shown else "", method, *cells)
            shown = model
        return Group(table, self._bars)


def _short(name: Configuration) -> str:
    return name.pattern or (words.percentage(name.sparsity, None) if name.sparsity else "")
