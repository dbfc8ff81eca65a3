"""Texts and JSON lines as other tools write them."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.bbq.folder import read_category
from mlx_prune.errors import DataError
from mlx_prune.text import json_lines, read_rows

ENDS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


def write(folder, name, content):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read_text(file):
    """The text, or the fields "text" of all rows."""
    read = read_rows(file)
    return read if isinstance(read, str) else "\n\n".join(row["text"] for _, row in read)


def line(text):
    return json.dumps({"text": text}, ensure_ascii=False)


@pytest.mark.parametrize("end", ENDS)
def test_only_line_feeds_end_json_lines(tmp_path, end):
    file = write(tmp_path, "a.jsonl", line(f"one{end}two") + "\r\n" + line("three") + "\n")
    if ord(end) < 32:  # must be escaped in JSON
        file = write(tmp_path, "a.jsonl", json.dumps({"text": f"one{end}two"}) + "\n" + line("three"))
    assert read_text(file) == f"one{end}two\n\nthree"


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", line("old")), ("a.json", line("old")), ("a.txt", "old"), ("a", "old")]
)
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, name, text):
    assert read_text(write(tmp_path, name, b"\xef\xbb\xbf" + text.encode())) == "old"


@pytest.mark.parametrize("name", ["c4-train.json", "c4.jsonl", "c4.ndjson", "c4-train", "c4.data"])
def test_json_lines_are_known_by_name_or_by_their_first_line(tmp_path, name):
    lines = "\n".join(json.dumps({"url": "x", "text": text}) for text in ("one", "two"))
    assert read_text(write(tmp_path, name, lines)) == "one\n\ntwo"


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_file_may_hold_one_list_or_one_text(tmp_path, indent):
    listed = json.dumps([{"text": "one"}, {"text": "two"}], indent=indent)
    assert read_text(write(tmp_path, "a.json", listed)) == "one\n\ntwo"
    assert read_text(write(tmp_path, "b.json", json.dumps({"text": "one"}, indent=indent))) == "one"


@pytest.mark.parametrize("text", ["{not json} but prose\n", "[1] a footnote\nand more", "", "plain"])
def test_prose_stays_prose(tmp_path, text):
    assert read_text(write(tmp_path, "a.txt", text)) == text
    assert read_text(write(tmp_path, "a", text)) == text


def test_a_text_about_json_lines_stays_as_it_is(tmp_path):
    assert read_text(write(tmp_path, "a.txt", line("one"))) == line("one")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "[1]", "entry 1: must be a JSON object"),
        ("a.jsonl", '{"text": ' + "[" * 100_000, "line 1: not valid JSON"),
        ("a.jsonl", '{"text": ' + "9" * 5000 + "}", "line 1: not valid JSON"),
        ("a.json.gz", gzip.compress(b"{}"), "is compressed"),
        ("a.txt", "Räuber".encode("utf-16"), "not UTF-8"),
    ],
)
def test_what_is_no_text_is_one_sentence(tmp_path, name, content, said):
    with pytest.raises(DataError, match=said) as caught:
        read_text(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1), st.booleans())
def test_every_text_comes_back(tmp_path_factory, texts, ascii_only):
    lines = "\n".join(json.dumps({"text": text}, ensure_ascii=ascii_only) for text in texts)
    file = write(tmp_path_factory.mktemp("t"), "a.jsonl", lines)
    assert [row["text"] for _, row in json_lines(file)] == texts


def test_bbq_lines_are_read_the_same_way(tmp_path):
    file = write(tmp_path, "Age.jsonl", b'\xef\xbb\xbf{"context": "a\xe2\x80\xa8b"}\n')
    with pytest.raises(DataError, match="line 1") as caught:
        read_category("Age", [file])
    assert "not valid JSON" not in str(caught.value)


@pytest.mark.parametrize("name", ["mark", "u0085", "u2028"])
def test_files_that_went_wrong_are_read(real_data, name):
    text = read_text(real_data / "cases" / f"{name}.jsonl")
    assert "The old man and the young woman" in text
    assert "\ufeff" not in text
