"""The records of a run: one row per answer, in Parquet parts that are complete or absent.

Column names shared with the published study's own JSONL are the study's; :func:`export_jsonl` writes that
format. Reading needs pyarrow only, so that a report can be made where MLX is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlx_prune.bbq.answers import LETTERS, parse_answer
from mlx_prune.bbq.words import PUBLISHED, PromptWords
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError, one_line
from mlx_prune.store import RECORDS_FOLDER, write_atomically

if TYPE_CHECKING:
    from mlx_prune.bbq.item import Item
    from mlx_prune.generation.interface import PromptAnswers

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("prune_method", pa.string()),
        ("pattern", pa.string()),
        ("sparsity", pa.float64()),
        ("item_id", pa.string()),
        ("category", pa.string()),
        ("question_index", pa.int32()),
        ("question_polarity", pa.string()),
        ("context_condition", pa.string()),
        ("seed", pa.int64()),
        ("raw_response", pa.string()),
        ("parsed_answer", pa.string()),
        ("parse_rule", pa.string()),
        ("stereotype_target_index", pa.int32()),
        ("anti_stereotype_target_index", pa.int32()),
        ("unknown_index", pa.int32()),
        ("label", pa.int32()),
        ("known_label_fault", pa.bool_()),
        ("p_a", pa.float32()),
        ("p_b", pa.float32()),
        ("p_c", pa.float32()),
        ("p1_a", pa.float32()),
        ("p1_b", pa.float32()),
        ("p1_c", pa.float32()),
        ("prompt_tokens", pa.int32()),
        ("generated_tokens", pa.int32()),
        ("elapsed_s", pa.float64()),
    ]
)

_ENCODED = pa.dictionary(pa.int32(), pa.string())

_STUDY_COLUMNS = (
    "model",
    "prune_method",
    "sparsity",
    "item_id",
    "category",
    "seed",
    "raw_response",
    "parsed_answer",
    "stereotype_target_index",
    "anti_stereotype_target_index",
    "unknown_index",
    "elapsed_s",
)


@dataclass(frozen=True)
class Export:
    """What :func:`export_jsonl` wrote.

    Attributes:
        records: Lines written.
        without_target: Records left out because their item has no single stereotyped option.
    """

    records: int
    without_target: int


def record_table(
    stamp: Configuration,
    items: Mapping[str, Item],
    answered: Sequence[PromptAnswers],
    skip: set[tuple[str, int]],
    words: PromptWords = PUBLISHED,
) -> pa.Table:
    """The records of some answered prompts, answers parsed.

    Args:
        stamp: The model's columns.
        items: The questions by item id.
        answered: What an engine yielded.
        skip: (item id, seed) pairs that are recorded already.
        words: Of the prompts, whose letters are read.
    """
    rows = []
    for prompt in answered:
        item = items[prompt.item_id]
        for answer in prompt.answers:
            if (answer.item_id, answer.seed) in skip:
                continue
            parsed = parse_answer(answer.text, words)
            rows.append(
                {
                    "model": stamp.model,
                    "prune_method": stamp.prune_method,
                    "pattern": stamp.pattern,
                    "sparsity": stamp.sparsity,
                    "item_id": item.item_id,
                    "category": item.category,
                    "question_index": item.question_index,
                    "question_polarity": item.question_polarity,
                    "context_condition": item.context_condition,
                    "seed": answer.seed,
                    "raw_response": answer.text,
                    "parsed_answer": None if parsed.index is None else LETTERS[parsed.index],
                    "parse_rule": parsed.rule,
                    "stereotype_target_index": item.stereotype_target_index,
                    "anti_stereotype_target_index": item.anti_stereotype_target_index,
                    "unknown_index": item.unknown_index,
                    "label": item.label,
                    "known_label_fault": item.known_label_fault,
                    **dict(zip(("p_a", "p_b", "p_c"), prompt.letter_probabilities, strict=True)),
                    **dict(zip(("p1_a", "p1_b", "p1_c"), prompt.letter_probabilities_t1, strict=True)),
                    "prompt_tokens": answer.prompt_tokens,
                    "generated_tokens": len(answer.tokens),
                    "elapsed_s": answer.elapsed_s,
                }
            )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_part(run: Path, name: str, table: pa.Table) -> None:
    """Add one Parquet file to a run; it appears complete or not at all.

    Raises:
        RecordsError: The disk is full or the folder cannot be written.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(run / RECORDS_FOLDER / f"{name}.parquet", sink.getvalue().to_pybytes())


def part_files(run: Path) -> list[Path]:
    """The run's finished Parquet files, by name.

    Raises:
        RecordsError: Something else bears such a name.
    """
    found = sorted((run / RECORDS_FOLDER).glob("*.parquet"))
    odd = next((path for path in found if not path.is_file()), None)
    if odd is not None:
        raise RecordsError(f"{odd} is not a file; remove it.")
    return found


def read_records(run: Path, columns: Sequence[str] | None = None, *, encoded: bool = False) -> pa.Table:
    """All records of a run.

    Args:
        run: The run folder.
        columns: Only these; None reads all.
        encoded: Leave columns of strings dictionary-encoded, as the files hold them: faster and smaller.

    Returns:
        Rows in the order they were written.

    Raises:
        RecordsError: There is no run here, or a file is damaged or has other columns.
    """
    if not (run / RECORDS_FOLDER).is_dir():
        raise RecordsError(f"{run} is not a run folder; `mlxprune eval MODEL -o {run}` would make it one.")
    fields = [SCHEMA.field(name) for name in (columns or SCHEMA.names)]
    texts = [field.name for field in fields if encoded and field.type == pa.string()]
    wanted = pa.schema([(field.name, _ENCODED if field.name in texts else field.type) for field in fields])
    tables = []
    for file in part_files(run):
        with _readable(file):
            # Not read_table, which imports pyarrow.dataset for a third of a second.
            with pq.ParquetFile(file, read_dictionary=texts) as part:
                table = part.read(columns=wanted.names)
            tables.append(table.select(wanted.names).cast(wanted))
    return pa.concat_tables(tables).unify_dictionaries() if tables else wanted.empty_table()


def count_records(run: Path) -> int:
    """How many records a run holds, without reading them; 0 where there is none.

    Raises:
        RecordsError: A file is damaged.
    """
    count = 0
    for file in part_files(run):
        with _readable(file):
            count += pq.read_metadata(file).num_rows
    return count


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise RecordsError(
            f"{file} cannot be read ({one_line(error)}); delete it and evaluate again to redo its records."
        ) from error


def to_bytes(table: pa.Table) -> bytes:
    """A table as one byte string, for sending to another process."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(data: bytes) -> pa.Table:
    """The table that :func:`to_bytes` wrote."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def export_jsonl(run: Path, file: Path) -> Export:
    """Write a run in the study's own record format, so that its analysis scripts run on it unchanged.

    Those scripts use the stereotyped option as a list index, so records without one are left out;
    ``elapsed_s`` is left out of records that were not timed one at a time; whole percentages are integers.

    Raises:
        RecordsError: There is no run here, it is damaged, or the file cannot be written.
    """
    lines = []
    without_target = 0
    for row in read_records(run, _STUDY_COLUMNS).to_pylist():
        if row["stereotype_target_index"] is None:
            without_target += 1
            continue
        lines.append(json.dumps(_study_row(row)))
    write_atomically(file, "".join(f"{line}\n" for line in lines).encode())
    return Export(len(lines), without_target)


def _study_row(row: dict[str, Any]) -> dict[str, Any]:
    row["sparsity"] = int(row["sparsity"]) if row["sparsity"].is_integer() else row["sparsity"]
    if row["elapsed_s"] is None:
        del row["elapsed_s"]
    return row
