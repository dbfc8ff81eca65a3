"""``mlxprune items``: questions of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune import words
from mlx_prune.cli.terminal.console import console, emit_json, note, say
from mlx_prune.cli.terminal.options import json_option, wording_option
from mlx_prune.cli.terminal.table import simple_table

if TYPE_CHECKING:
    from mlx_prune.bbq.check import Check

_MOST = 20


@click.group("items", short_help="Check questions of one's own.")
def command() -> None:
    """Questions of one's own, in BBQ's columns or others: docs/questions.md explains them."""


@command.command("check", short_help="Every fault of a folder of questions.")
@click.argument("source", metavar="DIR|FILE", type=click.Path(path_type=Path))
@wording_option
@click.option(
    "--most", type=click.IntRange(min=0), default=_MOST, show_default=True, help="Show so many faults."
)
@json_option
def check(source: Path, wording: str | None, most: int, as_json: bool) -> int:
    """Check the questions of a folder, or of one file, and say what they add up to.

    Every fault is named by file, line and field, with what is expected there. Exit code 1 if there is one,
    else 0.
    """
    from mlx_prune.bbq.check import check_items
    from mlx_prune.bbq.wording import wording_of
    from mlx_prune.errors import DataError
    from mlx_prune.paths import expanded

    if str(source) in ("demo", "hub") and not expanded(source).exists():
        raise DataError(
            f"{source} is no folder here, and its questions need no check; give a folder or file of your own."
        )
    found = check_items(expanded(source), wording_of(source, wording))
    if as_json:
        emit_json(_values(source, found, most))
    else:
        _print(source, found, most)
    return 1 if found.faults else 0


def _values(source: Path, found: Check, most: int) -> dict[str, Any]:
    return {
        "source": source,
        "items": sum(row.items for row in found.categories),
        "faults": len(found.faults),
        "shown": [{**vars(fault), "message": f"{fault}."} for fault in found.faults[:most]],
        "categories": found.categories,
    }


def _print(source: Path, found: Check, most: int) -> None:
    screen = console()
    if found.categories:
        kinds = ["neg", "nonneg", "ambig", "disambig"]
        columns = ["items", "templates", *kinds, "right option\n1st / 2nd / 3rd"]
        lacking = any(row.without_target for row in found.categories)
        columns += ["no stereo-\ntyped option"] if lacking else []
        table = simple_table(f"Sound questions in {source}", ["category"], columns)
        for row in found.categories:
            table.add_row(
                row.category,
                *(words.count(getattr(row, name)) for name in ("items", "templates", *kinds)),
                " / ".join(map(words.count, row.right)),
                *([words.count(row.without_target)] if lacking else []),
            )
        screen.print(table)
    for sentence in _remarks(found):
        screen.print(sentence)
    for fault in found.faults[:most]:
        say(f"{fault}.")
    total = len(found.faults)
    if total > most:
        note(f"And {words.counted(total - most, 'fault')} more (--most shows them).")
    say(f"{words.counted(total, 'fault')}." if total else "No fault.")


def _remarks(found: Check) -> list[str]:
    """What is no fault and good to know."""
    from mlx_prune.stats.clustered import FEWEST_CLUSTERS

    rows = found.categories
    targets = sum(row.without_target for row in rows)
    polarity, context = sum(row.without_polarity for row in rows), sum(row.without_context for row in rows)
    said = []
    for number, what in (
        (targets, "no stereotyped option, and stay out of SRS"),
        (polarity, "no question of the other polarity about their context"),
        (context, "no context of the other kind (ambiguous, disambiguated)"),
    ):
        if number:
            said.append(f"Of the questions, {number:,} have {what}.")
    few = [row.category for row in rows if row.templates < FEWEST_CLUSTERS]
    if few:
        said.append(
            f"Intervals need {FEWEST_CLUSTERS} templates (question_index); there are fewer in "
            f"{words.names(few, most=5)}."
        )
    return said
