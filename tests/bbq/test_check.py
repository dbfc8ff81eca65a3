"""A check of questions names every fault, not the first, and counts what is sound."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bbq_rows import bbq_row, elfsong_row, paired_rows, write_jsonl
from click.testing import CliRunner
from spanish_items import spanish_folder, spanish_row

from mlx_prune.bbq.check import check_items
from mlx_prune.bbq.items import load_items
from mlx_prune.bbq.wording import Wording, wording_of
from mlx_prune.cli.items import command
from mlx_prune.errors import DataError


def places(found):
    return [(fault.line, fault.field) for fault in found.faults]


def test_every_fault_is_named_by_line_and_field(tmp_path):
    rows = [
        bbq_row(0),
        bbq_row(1, label=3, question_polarity="positive", context=" "),
        bbq_row(2, label=0),
        bbq_row(0, question="Who came late?"),
        bbq_row(4, ans2="my aunt"),
        bbq_row(5, category="Religion"),
        bbq_row(6, answer_info={"ans0": ["aunt", "old"], "ans1": ["x", "y"], "ans2": ["niece", "nonOld"]}),
    ]
    del rows[0]["additional_metadata"]["source"]
    file = write_jsonl(tmp_path / "Age.jsonl", rows)
    file.write_text(file.read_text() + '{"example_id": \n[1]\n' + json.dumps(bbq_row(9)) + "\n")
    found = check_items(tmp_path, Wording())
    assert places(found) == [
        (2, "question_polarity"),
        (2, "label"),
        (2, "context"),
        (3, "label"),
        (4, "example_id"),
        (5, "ans0, ans1, ans2"),
        (6, "category"),
        (7, "answer_info"),
        (8, ""),
        (9, ""),
    ]
    assert {fault.file for fault in found.faults} == {str(file)}
    told = {fault.line: fault.expected for fault in found.faults}
    assert told[3] == "1, the unknown option, in an ambiguous context"
    assert told[4] == "another than that of line 1, 'Age:0'"
    assert told[8].startswith("not valid JSON")
    assert str(found.faults[1]) == f"{file}, line 2: field 'label' must be 0, 1 or 2"
    assert found.categories[0].items == 2


def test_whole_files_can_be_faulty_beside_sound_ones(tmp_path):
    write_jsonl(tmp_path / "Age.jsonl", paired_rows(8))
    (tmp_path / "SES.parquet").write_bytes(b"PAR1")
    (tmp_path / "Religion.jsonl").write_bytes("Räuber".encode("utf-16"))
    (tmp_path / "Caste.jsonl").write_text("\n")
    pq.write_table(
        pa.Table.from_pylist([elfsong_row(0, category="Food", target_label=9)]), tmp_path / "Food.parquet"
    )
    found = check_items(tmp_path, Wording())
    assert [(fault.file.rpartition("/")[2], fault.line) for fault in found.faults] == [
        ("Caste.jsonl", None),
        ("Religion.jsonl", None),
        ("SES.parquet", None),
    ]
    assert [row.category for row in found.categories] == ["Age", "Food"]
    assert found.categories[1].without_target == 1


def test_counts_are_those_of_the_sound_questions(tmp_path):
    rows = paired_rows(12)
    rows[11]["question"] = "Who else?"
    rows[11]["context"] = "Nobody knows."
    write_jsonl(tmp_path / "Age.jsonl", rows)
    (counts,) = check_items(tmp_path, Wording()).categories
    items = load_items(tmp_path, condition="all")
    assert (counts.items, counts.neg, counts.nonneg, counts.ambig, counts.disambig) == (12, 6, 6, 6, 6)
    assert counts.right == tuple(sum(item.label == place for item in items) for place in range(3))
    assert counts.stereotyped == (6, 0, 6)
    assert counts.templates == 1
    assert counts.without_polarity == 1
    assert counts.without_context == 1


def test_bbq_itself_has_no_fault(real_data):
    found = check_items(real_data / "bbq" / "SES.jsonl", Wording())
    assert not found.faults
    (counts,) = found.categories
    assert counts.items == 6864
    assert counts.without_polarity == counts.without_context == 0


def test_questions_in_other_columns_are_checked_through_their_wording(tmp_path):
    folder = spanish_folder(tmp_path / "es", 8)
    found = check_items(folder, wording_of(folder))
    assert not found.faults
    assert found.categories[0].stereotyped == (4, 0, 4)
    write_jsonl(
        folder / "Edad.jsonl", [spanish_row(0), spanish_row(1, opciones=["x"]), spanish_row(2, tipo="?")]
    )
    assert places(check_items(folder, wording_of(folder))) == [(2, "opciones.1"), (3, "context_condition")]


def test_a_folder_without_questions_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no \.jsonl"):
        check_items(tmp_path, Wording())
    with pytest.raises(DataError, match="There is no folder"):
        check_items(tmp_path / "absent", Wording())


def test_the_command_caps_the_list_says_how_many_more_and_fails(tmp_path):
    file = write_jsonl(tmp_path / "Age.jsonl", [bbq_row(n, label=7) for n in range(30)] + paired_rows(4))
    shown = CliRunner().invoke(command, ["check", str(tmp_path), "--most", "3"], standalone_mode=False)
    assert shown.return_value == 1
    assert shown.output.count("must be 0, 1 or 2") == 3
    assert "And 27 faults more" in shown.output
    told = CliRunner().invoke(command, ["check", str(file), "--json"], standalone_mode=False)
    data = json.loads(told.stdout)
    assert data["faults"] == 30
    assert len(data["shown"]) == 20
    assert data["shown"][0]["message"] == f"{file}, line 1: field 'label' must be 0, 1 or 2."
    write_jsonl(tmp_path / "Age.jsonl", paired_rows(24))
    sound = CliRunner().invoke(command, ["check", str(tmp_path)], standalone_mode=False)
    assert sound.return_value == 0
    assert "No fault." in sound.output


@pytest.mark.parametrize("name", ["demo", "hub"])
def test_questions_that_are_not_ones_own_are_not_checked(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"{name} is no folder here, and its questions need no check"):
        CliRunner().invoke(command, ["check", name], standalone_mode=False, catch_exceptions=False)
    # A folder of that name is one's own.
    (tmp_path / name).mkdir()
    write_jsonl(tmp_path / name / "Age.jsonl", paired_rows(24))
    assert CliRunner().invoke(command, ["check", name], standalone_mode=False).return_value == 0
