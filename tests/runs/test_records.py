"""Records: what a row holds, and parts that read back as one table."""

import json

import pyarrow as pa
import pytest
from agreement import make_items
from record_tables import table_of

from mlx_prune.errors import RecordsError
from mlx_prune.runs.records import (
    SCHEMA,
    export_jsonl,
    from_bytes,
    part_files,
    read_records,
    to_bytes,
    write_part,
)


def test_a_record_holds_item_answer_and_model():
    item = make_items(3)[2]
    row = table_of([item]).to_pylist()[1]
    assert list(row) == SCHEMA.names
    assert row["raw_response"] == "(b) x"
    assert (row["parsed_answer"], row["parse_rule"]) == ("B", "leading")
    assert (row["model"], row["prune_method"], row["pattern"], row["sparsity"]) == (
        "gemma-2-9b-it",
        "wanda",
        "2:4",
        50.0,
    )
    for name in ("item_id", "category", "question_index", "question_polarity", "context_condition", "label"):
        assert row[name] == getattr(item, name)
    assert [row[f"p_{c}"] for c in "abc"] == [0.5, 0.25, 0.125]
    assert [row[f"p1_{c}"] for c in "abc"] == pytest.approx([0.3, 0.2, 0.1])
    assert (row["seed"], row["prompt_tokens"], row["generated_tokens"], row["elapsed_s"]) == (1, 90, 2, None)


def test_an_unreadable_answer_is_null_with_its_rule():
    row = table_of(make_items(1), texts=("???",)).to_pylist()[0]
    assert (row["parsed_answer"], row["parse_rule"]) == (None, "none")


def test_recorded_pairs_are_skipped():
    items = make_items(2)
    table = table_of(items, skip={(items[0].item_id, 1)})
    pairs = list(zip(table["item_id"].to_pylist(), table["seed"].to_pylist(), strict=True))
    assert pairs == [(items[0].item_id, 0), (items[1].item_id, 0), (items[1].item_id, 1)]


def test_parts_read_back_as_one_table(tmp_path):
    items = make_items(6)
    for index in range(3):
        write_part(tmp_path, f"part-{index}", table_of(items[2 * index : 2 * index + 2]))
    assert read_records(tmp_path).equals(table_of(items))
    assert read_records(tmp_path, ["seed", "item_id"]).column_names == ["seed", "item_id"]
    assert len(part_files(tmp_path)) == 3


def test_hidden_files_are_not_records(tmp_path):
    write_part(tmp_path, "part-0", table_of(make_items(1)))
    (tmp_path / "records" / ".part-1.parquet.tmp").write_bytes(b"half")
    assert read_records(tmp_path).num_rows == 2


def test_datasets_reads_a_run_as_it_is(tmp_path):
    datasets = pytest.importorskip("datasets")
    items = make_items(4)
    write_part(tmp_path, "part-0", table_of(items[:2]))
    write_part(tmp_path, "part-1", table_of(items[2:]))
    loaded = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "records" / "*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "c"),
    )
    assert loaded.num_rows == 8
    assert loaded.column_names == SCHEMA.names


def test_a_damaged_part_is_named(tmp_path):
    write_part(tmp_path, "part-0", table_of(make_items(1)))
    part_files(tmp_path)[0].write_bytes(b"PAR1 nonsense")
    with pytest.raises(RecordsError, match=r"part-0\.parquet cannot be read .*delete it"):
        read_records(tmp_path)


def test_a_part_with_other_columns_is_named(tmp_path):
    import pyarrow.parquet as pq

    write_part(tmp_path, "part-0", table_of(make_items(1)))
    pq.write_table(pa.table({"item_id": [1]}), tmp_path / "records" / "odd.parquet")
    with pytest.raises(RecordsError, match=r"odd\.parquet"):
        read_records(tmp_path)


def test_a_folder_without_records_is_no_run(tmp_path):
    with pytest.raises(RecordsError, match="not a run folder"):
        read_records(tmp_path)


def test_tables_travel_as_bytes():
    table = table_of(make_items(3))
    assert from_bytes(to_bytes(table)).equals(table)


def test_jsonl_has_the_study_s_fields(tmp_path):
    items = make_items(2)
    write_part(tmp_path, "part-0", table_of(items, elapsed=0.25))
    export = export_jsonl(tmp_path, tmp_path / "out" / "records.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    assert (export.records, export.without_target) == (4, 0)
    assert lines[0] == {
        "model": "gemma-2-9b-it",
        "prune_method": "wanda",
        "sparsity": 50,
        "item_id": items[0].item_id,
        "category": items[0].category,
        "seed": 0,
        "raw_response": "A",
        "parsed_answer": "A",
        "stereotype_target_index": items[0].stereotype_target_index,
        "anti_stereotype_target_index": items[0].anti_stereotype_target_index,
        "unknown_index": items[0].unknown_index,
        "elapsed_s": 0.25,
    }
    assert isinstance(lines[0]["sparsity"], int)
    # The study's scripts index a list with these columns of a data frame.
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(lines)
    assert {str(frame[name].dtype) for name in frame if name.endswith("_index")} == {"int64"}


def test_jsonl_leaves_out_times_that_were_not_taken_and_items_without_a_target(tmp_path):
    import dataclasses

    items = make_items(3)
    items[1] = dataclasses.replace(items[1], stereotype_target_index=None, anti_stereotype_target_index=None)
    write_part(tmp_path, "part-0", table_of(items))
    export = export_jsonl(tmp_path, tmp_path / "records.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert (export.records, export.without_target) == (4, 2)
    assert {line["item_id"] for line in lines} == {items[0].item_id, items[2].item_id}
    assert not any("elapsed_s" in line for line in lines)
