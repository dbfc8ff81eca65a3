"""Broken files of a study, and broken records of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from damages import (
    Case,
    Words,
    copy_of_study,
    eval_words,
    fifo_instead,
    folder_instead,
    json_damages,
    replace,
)

RESULT_FILES = ("perplexity.json", "latency.json", "sizes.json")
BAD_ROWS: dict[str, Any] = {
    "no results": {},
    "results an object": {"results": {}},
    "rows of text": {"results": ["row"]},
    "rows without names": {"results": [{}]},
    "figures of text": {"results": [{"model": "m", "prune_method": "wanda", "sparsity": "half"}]},
}


def study_files() -> Iterator[Case]:
    """Files of a study folder, broken, met by the commands that read them."""
    users: dict[str, Callable[[Path, Path], Words]] = {
        "report": lambda study, place: ["report", str(study)],
        "gate": lambda study, place: ["gate", str(study)],
        "study": lambda study, place: ["study", str(study / "study.toml"), "-o", str(study)],
    }
    for file in RESULT_FILES:
        damages = list(json_damages())
        damages += [
            (name, lambda path, rows=rows: replace(path, json.dumps(rows).encode()))
            for name, rows in BAD_ROWS.items()
        ]
        for damage, apply in damages:
            for user, words in users.items():
                if user == "gate" and file != "perplexity.json":
                    continue

                def build(good: Path, place: Path, file=file, apply=apply, words=words) -> Words:  # type: ignore[no-untyped-def]
                    study = copy_of_study(good, place)
                    (study / file).unlink(missing_ok=True)
                    apply(study / file)
                    return list(words(study, place))

                yield Case(f"study {file} {damage} {user}", build)
    for file in ("run.json", "pruning_meta.json"):
        for damage, apply in json_damages():
            for user, words in users.items():

                def run(good: Path, place: Path, file=file, apply=apply, words=words) -> Words:  # type: ignore[no-untyped-def]
                    study = copy_of_study(good, place)
                    target = next(study.glob(f"runs/*/magnitude*/{file}"))
                    target.unlink()
                    apply(target)
                    return list(words(study, place))

                # What a pruning recorded of itself is written anew, or not looked at, by some commands.
                yield Case(f"run {file} {damage} {user}", run, (0, 1, 2) if "meta" in file else (1, 2))


def _part(run: Path) -> Path:
    return next((run / "records").glob("*.parquet"))


def _rewrite(run: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    part = _part(run)
    table = pq.read_table(part)
    part.unlink()
    pq.write_table(change(table), part)


RECORDS: dict[str, Callable[[Path], None]] = {
    "empty": lambda run: _part(run).write_bytes(b"") and None,
    "cut": lambda run: _part(run).write_bytes(_part(run).read_bytes()[:500]) and None,
    "text": lambda run: _part(run).write_bytes(b"PAR1 no PAR1") and None,
    "fifo": lambda run: fifo_instead(_part(run)),
    "folder": lambda run: folder_instead(_part(run)),
    "columns absent": lambda run: _rewrite(run, lambda table: table.drop_columns(["seed"])),
    "other types": lambda run: _rewrite(
        run, lambda table: table.set_column(table.column_names.index("seed"), "seed", table["item_id"])
    ),
    "rows twice": lambda run: _rewrite(run, lambda table: pa.concat_tables([table, table])),
    "impossible index": lambda run: _rewrite(
        run,
        lambda table: table.set_column(
            table.column_names.index("unknown_index"),
            "unknown_index",
            pa.array([9] * table.num_rows, pa.int32()),
        ),
    ),
    "no rows": lambda run: _rewrite(run, lambda table: table.slice(0, 0)),
}


def records() -> Iterator[Case]:
    """Records that are damaged, met by the commands that read them."""
    for name, apply in RECORDS.items():
        for user in ("report", "gate", "records", "eval"):

            def build(good: Path, place: Path, apply=apply, user=user) -> Words:  # type: ignore[no-untyped-def]
                study = copy_of_study(good, place)
                run = next(study.glob("runs/*/magnitude*"))
                if user == "eval":
                    shutil.copytree(good / "run", place / "out")
                    run = place / "out"
                apply(run)
                return {
                    "report": ["report", str(study)],
                    "gate": ["gate", str(study)],
                    "records": ["records", str(run), "--jsonl", str(place / "out.jsonl")],
                    "eval": eval_words(good / "model", place),
                }[user]

            # Without rows, or for an export that needs other columns only, a run is just unfinished.
            codes = (0, 1, 2) if name in ("no rows", "impossible index", "rows twice") else (1, 2)
            yield Case(f"records {name} {user}", build, codes)
