"""The questions of a run, kept beside its answers in ``items.parquet``; a report needs no other source.

Records name questions by id. The fingerprint of the questions in ``run.json`` guards what is read here: only
texts that were asked are shown. Needs no MLX.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlx_prune.bbq.item import Item
from mlx_prune.errors import RecordsError
from mlx_prune.runs.folder import RunFolder
from mlx_prune.store import write_atomically

ITEMS_FILE = "items.parquet"
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("category", pa.string()),
        ("question_index", pa.int32()),
        ("question_polarity", pa.string()),
        ("context_condition", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string(), 3)),
        ("label", pa.int32()),
        ("stereotype_target_index", pa.int32()),
        ("anti_stereotype_target_index", pa.int32()),
        ("unknown_index", pa.int32()),
        ("known_label_fault", pa.bool_()),
        ("group", pa.string()),
    ]
)
_COMPARED = tuple(field.name for field in dataclasses.fields(Item) if field.compare)


def items_fingerprint(items: Iterable[Item]) -> str:
    """Hash of what every question says and means, in order; 16 hexadecimal digits.

    Where a question was read from is no part of it, nor is the social group, which follows from the rest.
    """
    digest = hashlib.sha256()
    for item in items:
        fields = [getattr(item, name) for name in _COMPARED]
        digest.update(json.dumps(fields, ensure_ascii=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def items_table(items: Iterable[Item]) -> pa.Table:
    """Questions as an Arrow table with the columns :data:`SCHEMA`."""
    rows = list(items)
    return pa.table({name: [getattr(item, name) for item in rows] for name in SCHEMA.names}, schema=SCHEMA)


def write_items(run: Path, items: Iterable[Item]) -> None:
    """Keep the questions of a run; the file appears complete or not at all.

    Raises:
        RecordsError: The disk is full or the folder cannot be written.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(items_table(items), sink, compression="zstd")
    write_atomically(run / ITEMS_FILE, sink.getvalue().to_pybytes())


def read_items(run: RunFolder) -> list[Item]:
    """The questions that a run was asked, in order.

    Raises:
        RecordsError: They were not kept, the file is damaged, or they are not the ones that were asked.
    """
    file = run.path / ITEMS_FILE
    asked = run.about.asked.get("items")
    if not file.is_file():
        raise RecordsError(f"{run.path} keeps no texts of its questions ({ITEMS_FILE} is not there).")
    try:
        # Not read_table, which imports pyarrow.dataset for a third of a second.
        with pq.ParquetFile(file) as kept:
            columns = kept.read(columns=SCHEMA.names).select(SCHEMA.names).cast(SCHEMA).to_pydict()
        columns["answers"] = [tuple(options) for options in columns["answers"]]
        items = [Item(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    except PermissionError as error:
        raise RecordsError(f"{file} cannot be read ({error.strerror}); check its permissions.") from None
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise RecordsError(
            f"{file} is damaged, so the texts of its questions are not known; evaluate again to write it."
        ) from error
    if items_fingerprint(items) != asked:
        raise RecordsError(f"{file} holds other questions than {run.path} was asked; delete it.")
    return items
