"""What commands print: results on stdout, for people or as JSON, and what is said to a person on stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.json_files import to_jsonable
from mlx_prune.outside_names import plain

if TYPE_CHECKING:
    from rich.console import Console

    from mlx_prune.report.words.finding import Finding

# Rich assumes 80 columns when output is not a terminal; tables here are laid out for 100 at most.
PIPED_WIDTH = 100

# Control characters that JSON allows in a text as they are, and lone surrogates, which UTF-8 does not.
_BEYOND_JSON = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *range(0xD800, 0xE000))}


def console() -> Console:
    """A console on stdout: the terminal's width or $COLUMNS, or a fixed one when piped."""
    from mlx_prune.cli.terminal.plain import PlainConsole

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


def emit_json(payload: Any) -> None:
    """Print one JSON object on stdout."""
    text = json.dumps(to_jsonable(payload), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text.translate(_BEYOND_JSON))


def print_headline(screen: Console, finding: Finding) -> None:
    """The first line of a finding, after what is unfinished."""
    if finding.unfinished:
        screen.print(finding.unfinished, style="bold yellow")
    screen.print(finding.headline, style="bold")
