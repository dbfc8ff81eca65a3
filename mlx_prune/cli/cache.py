"""``mlxprune cache``: what is kept from one command to the next."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mlx_prune import caches, words
from mlx_prune.cli.terminal.console import console, emit_json, say
from mlx_prune.cli.terminal.options import json_option
from mlx_prune.cli.terminal.table import simple_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlx_prune.caches import Entry


@click.group("cache", invoke_without_command=True, short_help="Show and clear what is kept between commands.")
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show what is kept from one command to the next, by kind; `clear` deletes it.

    All of it can be computed anew. It lies in the user's cache folder, or where MLX_PRUNE_CACHE says. Models
    and data sets of the Hub are kept by its own tools (`hf cache`).
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"Give --json behind {context.invoked_subcommand}.")
        return
    found = caches.entries()
    if as_json:
        emit_json({"folder": caches.cache_folder(), "kinds": _values(found), "bytes": _bytes(found)})
        return
    if found:
        table = simple_table("", ["kind"], ["entries", "size", "newest", "oldest"])
        table.add_column("what", wrap=True)
        for row in _values(found):
            ages = (row["newest_days"], row["oldest_days"])
            table.add_row(
                row["kind"],
                words.count(row["entries"]),
                words.size(row["bytes"]),
                *map(_age, ages),
                row["what"],
            )
        console().print(table)
    say(f"{words.size(_bytes(found))} in {caches.cache_folder()}")


@command.command("clear", short_help="Delete what is kept.")
@click.argument("kind", required=False, type=click.Choice(list(caches.KINDS)))
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Only what was not written since."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def clear(kind: str | None, older_than: float | None, yes: bool, as_json: bool) -> None:
    """Delete what is kept, all of it or of one KIND; what needs it computes it anew."""
    found = caches.entries((kind,) if kind else tuple(caches.KINDS))
    if older_than is not None:
        found = [entry for entry in found if entry.age_days > older_than]
    total = f"{words.counted(len(found), 'entry', 'entries')} of {words.size(_bytes(found))}"
    if found and not yes:
        if as_json or not sys.stdin.isatty():
            raise click.UsageError(f"{total} would be deleted; give --yes where nobody can be asked.")
        click.confirm(f"Delete {total} in {caches.cache_folder()}?", abort=True, err=True)
    caches.clear(found)
    if as_json:
        deleted = {"entries": len(found), "bytes": _bytes(found), "kinds": _values(found)}
        emit_json({"folder": caches.cache_folder(), "deleted": deleted})
    else:
        say(f"Deleted {total}." if found else "There is nothing to delete.")


def _values(found: Sequence[Entry]) -> list[dict[str, Any]]:
    rows = []
    for kind, what in caches.KINDS.items():
        own = [entry for entry in found if entry.kind == kind]
        if own:
            ages = [entry.age_days for entry in own]
            times = {"newest_days": min(ages), "oldest_days": max(ages)}
            path = caches.cache_folder() / kind
            rows.append(
                {"kind": kind, "what": what, "path": path, "entries": len(own), "bytes": _bytes(own), **times}
            )
    return rows


def _bytes(found: Sequence[Entry]) -> int:
    return sum(entry.n_bytes for entry in found)


def _age(days: float) -> str:
    return "today" if days < 1 else words.counted(round(days), "day")
