"""From rows of files to items; what is wrong with a row is named with its place."""

from __future__ import annotations

import json

import pytest
from bbq_rows import bbq_row, elfsong_row, write_jsonl

from mlx_prune.bbq.items import load_items
from mlx_prune.bbq.rows import item_from_bbq, item_from_elfsong
from mlx_prune.errors import DataError

FIELDS = [name for name in bbq_row() if name != "category"]


@pytest.mark.parametrize("field", [*FIELDS, "category"])
def test_a_missing_field_is_named_with_file_and_line(tmp_path, field):
    broken = bbq_row(1)
    del broken[field]
    write_jsonl(tmp_path / "Age.jsonl", [bbq_row(0), broken])
    with pytest.raises(DataError, match=rf"Age\.jsonl, line 2: field '{field}' is missing"):
        load_items(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("example_id", "x\n1"),
        ("example_id", -1),
        ("example_id", True),
        ("question_index", 1.5),
        ("question_polarity", "negative"),
        ("context_condition", None),
        ("category", "Religion"),
        ("context", ""),
        ("question", 3),
        ("ans2", "  "),
        ("label", 3),
        ("label", 0),
        ("answer_info", []),
        ("answer_info", {"ans0": ["a", "old"], "ans1": ["b", "unknown"], "ans2": ["c", "unknown"]}),
        ("answer_info", {"ans0": ["a", "old"], "ans1": ["b", "nonOld"], "ans2": ["c", "old"]}),
        ("additional_metadata", "none"),
    ],
)
def test_a_wrong_value_is_named_with_file_line_and_field(tmp_path, field, value):
    write_jsonl(tmp_path / "Age.jsonl", [bbq_row(**{field: value})])
    with pytest.raises(DataError, match=rf"Age\.jsonl, line 1: field '{field}' must be "):
        load_items(tmp_path)


def test_wrong_nested_values_are_named_with_their_path():
    short = {"ans0": ["a"], "ans1": ["b", "unknown"], "ans2": ["c", "old"]}
    with pytest.raises(DataError, match=r"answer_info\.ans0"):
        item_from_bbq(bbq_row(answer_info=short), "Age", "here")
    for groups in ([], "old", [1]):
        metadata = {"stereotyped_groups": groups}
        with pytest.raises(DataError, match=r"additional_metadata\.stereotyped_groups"):
            item_from_bbq(bbq_row(additional_metadata=metadata), "Age", "here")


def test_a_cut_off_last_line_is_an_error_naming_it(tmp_path):
    path = write_jsonl(tmp_path / "Age.jsonl", [bbq_row(0), bbq_row(1)])
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match=r"line 2: not valid JSON .* cut off"):
        load_items(tmp_path)


def test_a_missing_final_newline_blank_lines_and_a_byte_order_mark_are_fine(tmp_path):
    lines = [json.dumps(bbq_row(0)), "", json.dumps(bbq_row(1))]
    (tmp_path / "Age.jsonl").write_text("\n".join(lines), encoding="utf-8-sig")
    assert [item.item_id for item in load_items(tmp_path)] == ["Age:0", "Age:1"]


@pytest.mark.parametrize("content", [b"[1, 2]\n", b'"text"\n', b"\xff\xfe\xfa\n", b"{'a': 1}\n"])
def test_files_that_are_not_json_objects_in_utf8_are_refused(tmp_path, content):
    (tmp_path / "Age.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"Age\.jsonl"):
        load_items(tmp_path)


def test_a_broken_parquet_file_is_refused(tmp_path):
    (tmp_path / "age-00000-of-00001.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        load_items(tmp_path)


def test_an_item_that_occurs_twice_is_refused_with_both_places(tmp_path):
    write_jsonl(tmp_path / "Age.jsonl", [bbq_row(5), bbq_row(6), bbq_row(5)])
    with pytest.raises(DataError, match=r"line 3: item 'Age:5' was already read from .*line 1"):
        load_items(tmp_path)


def test_elfsongs_target_is_taken_as_it_is_because_it_is_flipped_already():
    for polarity, target in (("neg", 0), ("nonneg", 2)):
        row = elfsong_row(question_polarity=polarity, target_label=target)
        item = item_from_elfsong(row, "Age", "here")
        assert (item.stereotype_target_index, item.anti_stereotype_target_index) == (target, 2 - target)
        assert item == item_from_bbq(bbq_row(question_polarity=polarity), "Age", "here")


@pytest.mark.parametrize("target", [-1, 3, 1, None])
def test_an_elfsong_target_that_is_not_a_person_is_no_target(target):
    item = item_from_elfsong(elfsong_row(target_label=target), "Age", "here")
    assert item.stereotype_target_index is None
    assert item.anti_stereotype_target_index is None


@pytest.mark.parametrize("listed", [["F"], None])
def test_an_elfsong_row_in_which_both_people_fit_has_no_target(listed):
    row = elfsong_row(
        category="Gender_identity",
        answer_info={"ans0": ["girl", "girl"], "ans1": ["Unknown", "unknown"], "ans2": ["woman", "woman"]},
        additional_metadata={"stereotyped_groups": listed, "known_stereotyped_groups": "F"},
    )
    assert item_from_elfsong(row, "Gender_identity", "here").stereotype_target_index is None


def test_elfsong_rows_of_two_attribute_categories_keep_their_target():
    row = elfsong_row(category="race_x_gender", target_label=2, additional_metadata={})
    item = item_from_elfsong(row, "Race_x_gender", "here")
    assert item.item_id == "Race_x_gender:0"
    assert item.stereotype_target_index == 2


@pytest.mark.parametrize(
    ("field", "value"), [("answer_label", None), ("target_label", "x"), ("answer_label", 2)]
)
def test_wrong_elfsong_labels_are_named(field, value):
    with pytest.raises(DataError, match=f"here: field '{field}' must be"):
        item_from_elfsong(elfsong_row(**{field: value}), "Age", "here")
