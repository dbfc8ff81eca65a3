"""``mlxprune show``: one question and what was answered to it, in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli.terminal.console import console, emit_json, note
from mlx_prune.cli.terminal.options import json_option

if TYPE_CHECKING:
    from mlx_prune.report.side_by_side import Place, Side


@click.command("show", short_help="One question, and every answer to it.")
@click.argument("place", metavar="RUN|STUDY", type=click.Path(path_type=Path))
@click.argument("item", required=False)
@click.option(
    "--dense",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="A run to show beside RUN; by default the dense one of the study that it is part of.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Without ITEM: questions of each version and direction.",
)
@json_option
def command(place: Path, item: str | None, dense: Path | None, most: int, as_json: bool) -> None:
    """Show one question: its text, the roles of its options, every answer and the options' probabilities.

    ITEM is an id such as Age:101. Of a study, all its versions are shown side by side. Without ITEM the
    ambiguous questions are listed whose option probabilities moved most from the dense model's, both ways.
    """
    from mlx_prune.cli.tables import item as tables
    from mlx_prune.report.side_by_side import open_place

    opened = open_place(place, dense)
    if item is None:
        moved = opened.moved(most)
        if as_json:
            emit_json({"moved": [one.configuration.columns | _figures(one) for one in moved]})
            return
        screen = console()
        screen.print(tables.moved_table(moved, opened.asked.by_id))
        screen.print(tables.MOVED_NOTE, style="dim")
        return
    name = opened.find(item)
    sides = opened.sides(name)
    if as_json:
        emit_json(_as_json(opened, name, sides))
        return
    screen = console()
    text = opened.asked.by_id.get(name)
    if text is None:
        screen.print(name, style="bold")
        note(opened.asked.missing or "The text of this question is not known.")
    else:
        tables.print_question(screen, text)
    for table in tables.answers_tables(sides, text):
        screen.print(table)
    tables.print_responses(screen, sides)


def _figures(moved: Any) -> dict[str, Any]:
    return {"item_id": moved.item_id, "distance": moved.distance, "lean": moved.lean}


def _as_json(opened: Place, name: str, sides: list[Side]) -> dict[str, Any]:
    from mlx_prune.bbq.answers import LETTERS
    from mlx_prune.report.side_by_side import role

    item = opened.asked.by_id.get(name)
    told = None
    if item is not None:
        told = {
            "category": item.category,
            "question_index": item.question_index,
            "question_polarity": item.question_polarity,
            "context_condition": item.context_condition,
            "group": item.group or None,
            "context": item.context,
            "question": item.question,
            "options": [
                {"letter": letter, "text": text, "role": role(item, place), "right": place == item.label}
                for place, (letter, text) in enumerate(zip(LETTERS, item.answers, strict=True))
            ],
        }
    versions = []
    for side in sides:
        answers = side.answers
        p = None if answers is None else answers.probabilities
        given = () if answers is None else answers.answers
        versions.append(
            side.configuration.columns
            | {"probabilities": None if p is None else dict(zip(LETTERS, p, strict=True))}
            | {
                "answers": [
                    {
                        "seed": one.seed,
                        "response": one.response,
                        "answer": None if one.option is None else LETTERS[one.option],
                        "role": None if item is None or one.option is None else role(item, one.option),
                        "rule": one.rule,
                    }
                    for one in given
                ]
            }
        )
    return {"item_id": name, "question": told, "versions": versions}
