"""Which questions are asked: categories, contexts, and limits that are balanced and nested."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bbq_rows import bbq_row, elfsong_row, paired_rows, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.bbq.items import STUDY_CATEGORIES, load_items
from mlx_prune.bbq.subset import _share, _spread, limit_items
from mlx_prune.errors import DataError


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "Age.jsonl", paired_rows(400))
    write_jsonl(tmp_path / "Religion.jsonl", paired_rows(12, category="Religion"))
    write_jsonl(tmp_path / "Nationality.jsonl", paired_rows(40, category="Nationality"))
    return tmp_path


def test_the_studys_counts_come_from_bbqs_own_files(real_data):
    items = load_items(real_data / "bbq")
    counts = Counter(item.category for item in items)
    assert counts == dict(zip(STUDY_CATEGORIES, (1840, 2836, 3440, 600, 3432), strict=True))
    assert len({item.item_id for item in items}) == len(items) == 12_148


def test_a_row_becomes_the_item_it_describes(tmp_path):
    write_jsonl(tmp_path / "Age.jsonl", [bbq_row(7, question_polarity="nonneg")])
    (item,) = load_items(tmp_path)
    assert (item.item_id, item.category, item.question_index) == ("Age:7", "Age", 1)
    assert item.answers == ("My aunt", "Can't be determined", "My niece")
    assert (item.stereotype_target_index, item.anti_stereotype_target_index, item.unknown_index) == (2, 0, 1)
    assert item.label == 1
    assert not item.known_label_fault


def test_default_categories_are_the_studys_as_far_as_the_folder_has_them(folder):
    assert {item.category for item in load_items(folder)} == {"Age", "Religion"}


def test_categories_are_found_in_any_case_and_kept_in_the_order_asked(folder):
    items = load_items(folder, categories=["nationality", "AGE"])
    assert list(dict.fromkeys(item.category for item in items)) == ["Nationality", "Age"]


def test_condition_selects_contexts(folder):
    assert {i.context_condition for i in load_items(folder)} == {"ambig"}
    assert {i.context_condition for i in load_items(folder, condition="disambig")} == {"disambig"}
    assert len(load_items(folder, condition="all")) == 412


@pytest.mark.parametrize("limit", [1, 2, 5, 10, 11, 50, 101, 206, 10_000])
def test_limit_is_exact_and_balanced_over_categories_and_polarities(folder, limit):
    items = load_items(folder, categories=["Age", "Nationality", "Religion"], limit=limit)
    assert len(items) == min(limit, 200 + 20 + 6)
    counts = Counter(item.category for item in items)
    spare = [
        counts[name]
        for name, size in (("Age", 200), ("Nationality", 20), ("Religion", 6))
        if counts[name] < size
    ]
    assert not spare or max(spare) - min(spare) <= 1
    for category in counts:
        polarities = Counter(item.question_polarity for item in items if item.category == category)
        assert abs(polarities["neg"] - polarities["nonneg"]) <= 1


def test_limited_items_are_spread_over_the_whole_file_in_its_order(folder):
    ids = [int(item.item_id.split(":")[1]) for item in load_items(folder, categories=["Age"], limit=20)]
    assert ids == sorted(set(ids))
    assert ids[0] < 40
    assert ids[-1] > 360
    assert max(after - before for before, after in pairwise(ids)) <= 40


def test_a_smaller_limit_is_part_of_a_larger_one(folder):
    arguments = {"categories": ["Age", "Nationality", "Religion"], "condition": "all"}
    every = load_items(folder, **arguments)
    smaller = []
    for limit in (*range(1, 120), 200, 300, 451, 452, 500):
        larger = [item.item_id for item in limit_items(every, limit)]
        assert [item for item in larger if item in set(smaller)] == smaller
        smaller = larger
    assert len(smaller) == len(every)


@given(st.integers(1, 400), st.integers(0, 400))
def test_every_beginning_of_the_order_is_spread(size, count):
    places = sorted(_spread(size, count))
    assert len(set(places)) == len(places) == min(size, count)
    assert all(0 <= place < size for place in places)
    if places:
        # No gap is wider than two parts of the next coarser grid.
        parts = max(p for p in (1, 10, 30, 90, 270) if p <= len(places))
        assert max(b - a for a, b in pairwise([-1, *places, size])) <= 2 * size / parts + 1


@given(st.sampled_from([10, 30, 90]), st.integers(90, 2000))
def test_round_numbers_are_the_middles_of_equal_parts(count, size):
    assert sorted(_spread(size, count)) == [(2 * part + 1) * size // (2 * count) for part in range(count)]


@given(st.integers(1, 500), st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_shares_use_all_there_is_and_differ_by_one_at_most_where_nothing_runs_out(total, sizes):
    shares = _share(total, sizes)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    unexhausted = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    if unexhausted:
        assert max(shares) <= min(unexhausted) + 1


def test_faulty_labels_can_be_left_out_before_limiting(tmp_path):
    fault = {
        "context": "Ann is from a rich family.",
        "answer_info": {"ans0": ["Ann", "lowSES"], "ans1": ["Unknown", "unknown"], "ans2": ["Bo", "highSES"]},
        "additional_metadata": {"stereotyped_groups": ["low SES"]},
        "category": "SES",
    }
    good = fault | {"context": "Ann is from a poor family."}
    write_jsonl(tmp_path / "SES.jsonl", [bbq_row(0, **fault), bbq_row(1, **good)])
    assert [item.known_label_fault for item in load_items(tmp_path)] == [True, False]
    kept = load_items(tmp_path, exclude_label_faults=True, limit=2)
    assert [item.item_id for item in kept] == ["SES:1"]


def test_excluding_faulty_labels_removes_220_of_the_studys_items(real_data):
    items = load_items(real_data / "bbq", exclude_label_faults=True)
    assert len(items) == 12_148 - 220


def test_files_in_elfsongs_columns_give_the_same_items(tmp_path):
    rows = [elfsong_row(number) for number in range(3)]
    write_jsonl(tmp_path / "own" / "Age.jsonl", [bbq_row(number) for number in range(3)])
    write_jsonl(tmp_path / "jsonl" / "age.jsonl", rows)
    (tmp_path / "parquet").mkdir()
    for part in range(3):
        table = pa.Table.from_pylist(rows[part : part + 1])
        pq.write_table(table, tmp_path / "parquet" / f"age-{part:05d}-of-00003.parquet")
    own = load_items(tmp_path / "own")
    assert load_items(tmp_path / "jsonl") == own
    assert load_items(tmp_path / "parquet") == own


def test_one_sentence_says_what_is_wrong_with_a_source(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "Age.jsonl").touch()
    for source, options, expected in (
        (tmp_path / "absent", {}, "There is no folder"),
        (empty, {}, "no .jsonl or .parquet files"),
        (tmp_path / "hollow", {}, "holds no items"),
        (folder, {"categories": ["Age", "Agee"]}, "no category 'Agee'; it has Age, Nationality, Religion"),
        (folder, {"categories": []}, "Age, Nationality, Religion"),
        (folder, {"categories": "Age"}, "list of names"),
        (folder, {"condition": "both"}, "ambig, disambig, all"),
        (folder, {"limit": 0}, "at least 1"),
    ):
        with pytest.raises(DataError, match=expected) as caught:
            load_items(source, **options)
        assert "\n" not in str(caught.value)


def test_a_folder_with_other_categories_is_asked_whole(tmp_path):
    write_jsonl(tmp_path / "Caste.jsonl", [bbq_row(category="Caste")])
    assert [item.item_id for item in load_items(tmp_path)] == ["Caste:0"]
    write_jsonl(tmp_path / "Age.jsonl", [bbq_row("A-7")])
    assert [item.item_id for item in load_items(tmp_path)] == ["Age:A-7", "Caste:0"]
    assert [item.item_id for item in load_items(tmp_path, categories=["Caste"])] == ["Caste:0"]


def test_a_selection_that_leaves_nothing_is_refused(tmp_path):
    write_jsonl(tmp_path / "Age.jsonl", [bbq_row()])
    with pytest.raises(DataError, match="no items for condition 'disambig'"):
        load_items(tmp_path, condition="disambig")


def test_two_attribute_categories_need_a_source_with_targets(tmp_path):
    write_jsonl(tmp_path / "Race_x_SES.jsonl", [bbq_row(category="Race_x_SES")])
    with pytest.raises(DataError, match="cannot be derived"):
        load_items(tmp_path, categories=["race_x_ses"])


def test_embedded_items_load():
    items = load_items("demo")
    assert {item.category for item in items} == set(STUDY_CATEGORIES)
    assert len(items) >= 600
    assert all(item.stereotype_target_index is not None for item in items)
    assert not any(item.known_label_fault for item in items)
