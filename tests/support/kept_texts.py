"""Texts and social groups for the questions of a made-up study, kept as runs keep them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlx_prune.bbq.item import Item
from mlx_prune.runs.items import items_fingerprint, write_items
from mlx_prune.runs.records import read_records

ROLES = ("stereotype_target_index", "anti_stereotype_target_index", "unknown_index")
PEOPLE = ("The <b>elder</b>", "The student", "Can't be determined")
GROUPS = ("north", "south")


def text_of(row: Mapping[str, Any], groups: Iterable[str] = GROUPS) -> Item:
    """A question with the ids and indices of a record; its group follows from its number."""
    number, names = int(row["item_id"].split(":")[1]), tuple(groups)
    options = ["", "", ""]
    stereotyped = row["stereotype_target_index"]
    unknown = row["unknown_index"]
    first = (unknown + 1) % 3 if stereotyped is None else stereotyped
    for place, text in zip((first, 3 - first - unknown, unknown), PEOPLE, strict=True):
        options[place] = text
    same = ("item_id", "category", "question_index", "question_polarity", "context_condition")
    fields = {name: row[name] for name in (*same, "label", *ROLES, "known_label_fault")}
    return Item(
        **fields,
        context=f"At market {number} there were an elder & a student.",
        question=f"Who was slow, {number}?",
        answers=(options[0], options[1], options[2]),
        group="" if stereotyped is None else names[number % len(names)],
    )


def keep_texts(study: Path, groups: Iterable[str] = GROUPS) -> dict[str, Item]:
    """Write questions beside the answers of every run of a study; returns them by id."""
    found: dict[str, Item] = {}
    names = tuple(groups)
    for run in sorted(study.glob("runs/*/*")):
        rows = read_records(run).to_pylist()
        items = {row["item_id"]: text_of(row, names) for row in rows}
        write_items(run, items.values())
        file = run / "run.json"
        about = json.loads(file.read_text()) if file.exists() else {"format": 1, "status": "complete"}
        about.setdefault("configuration", {})
        if "model" not in about["configuration"]:
            columns = ("model", "prune_method", "pattern", "sparsity")
            about["configuration"] |= {name: rows[0][name] for name in columns}
        about["configuration"] |= {"items": items_fingerprint(items.values())}
        file.write_text(json.dumps(about))
        found |= items
    return found
