"""What the commands share: options, progress bars, tables and JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlx_prune.json_files import to_jsonable
from mlx_prune.outside_names import plain
from mlx_prune.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    from rich.console import Console

# Control characters that JSON allows in a text as they are, and lone surrogates, which UTF-8 does not.
_BEYOND_JSON = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *range(0xD800, 0xE000))}

F = TypeVar("F", bound=Callable[..., Any])

# Rich assumes 80 columns when output is not a terminal; tables here are laid out for 100 at most.
PIPED_WIDTH = 100


def json_option(function: F) -> F:
    """Add ``--json``: one JSON object on stdout and nothing else there."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    return option(function)


def dtype_option(function: F) -> F:
    """Add ``--dtype``: the type a model computes in."""
    option = click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="auto: as stored on a GPU, float32 on a CPU.",
    )
    return option(function)


def bbq_option(function: F) -> F:
    """Add ``--bbq``: where questions come from."""
    option = click.option(
        "--bbq",
        metavar="hub|DIR|demo",
        help="Questions: BBQ from the Hub, a folder of its JSONL files, or invented ones, the default of the "
        "embedded model only.",
    )
    return option(function)


def text_option(function: F) -> F:
    """Add ``--text``: what perplexity is measured on."""
    option = click.option(
        "--text",
        metavar="tulu|FILE|demo",
        help="For perplexity: allenai/tulu-3-sft-mixture from the Hub, a text or JSONL file, or an invented "
        "text, the default of the embedded model only.",
    )
    return option(function)


def thinking_option(function: F) -> F:
    """Add ``--thinking``: what to do about a model that reasons before it answers."""
    option = click.option(
        "--thinking",
        type=click.Choice(["off", "skip"]),
        default="off",
        show_default=True,
        help="Of a model that reasons: leave thinking out as its chat template can, or close it empty.",
    )
    return option(function)


def trust_option(function: F) -> F:
    """Add ``--trust-remote-code``, off by default."""
    option = click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Run Python code that comes with the model or its tokenizer.",
    )
    return option(function)


def given(context: click.Context, name: str) -> bool:
    """Whether the user gave a parameter, rather than leaving its default."""
    source = context.get_parameter_source(name)
    return source not in (click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)


def refuse_ignored(context: click.Context, names: Collection[str], reason: str) -> None:
    """Refuse what was given of these parameters, which would have no effect.

    Raises:
        UsageError: One was given.
    """
    for parameter in context.command.get_params(context):
        if parameter.name in names and given(context, parameter.name):
            raise click.UsageError(f"{parameter.opts[-1]} would be ignored: {reason}.", context)


def parse_percent(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Callback of ``--sparsity``: a percentage such as 50 or 12.5; a fraction is refused with a hint."""
    if value is None:
        return None
    try:
        number = float(value.removesuffix("%"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number.") from None
    if 0 < number < 1:
        raise click.BadParameter(
            f"sparsity is a percentage; did you mean {number * 100:g} instead of {value}?"
        )
    if not 1 <= number <= 99:
        raise click.BadParameter(f"{value} is not between 1 and 99 percent.")
    return number


def parse_seeds(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Callback of ``--seeds``: ``42,123`` to ``(42, 123)``."""
    try:
        seeds = tuple(int(word) for word in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a comma-separated list of whole numbers.") from None
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise click.BadParameter("seeds must be distinct and not negative.")
    return seeds


def console() -> Console:
    """A console on stdout: the terminal's width or $COLUMNS, or a fixed one when piped."""
    from mlx_prune.cli._console import PlainConsole

    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return PlainConsole(width=None if known else PIPED_WIDTH)


def say(message: str) -> None:
    """Print a line, unwrapped, so that a path in it can be clicked and copied."""
    click.echo(plain(message, keep="\n"))


def note(message: str) -> None:
    """Say something to the person at the terminal, on stderr."""
    click.echo(plain(message, keep="\n"), err=True)


def warn(message: str) -> None:
    """A visible warning on stderr."""
    click.secho(f"Warning: {plain(message)}", err=True, fg="yellow")


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Rich progress bars on stderr, one per stage, with rate and time left; silent off a terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
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
    from mlx_prune.cli._console import PlainConsole

    with Bars(*columns, console=PlainConsole(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(report: Progress) -> None:
            task = tasks.get(report.stage)
            if task is None or report.done < bars.tasks[task].completed:
                task = tasks[report.stage] = bars.add_task(
                    plain(report.stage), total=report.total, rate="", detail=""
                )
            bars.update(task, completed=report.done, total=report.total, detail=plain(report.detail))
            speed = bars.tasks[task].speed
            bars.update(task, rate=f"{speed:,.1f}/s" if speed else "")

        yield show


def emit_json(payload: Any) -> None:
    """Print one JSON object on stdout."""
    text = json.dumps(to_jsonable(payload), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text.translate(_BEYOND_JSON))
