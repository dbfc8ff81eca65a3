"""JSON files of users: anything that is wrong with one is the caller's error, in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlx_prune.errors import RecordsError
from mlx_prune.json_files import read_object


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'\xff\xfe{"a": 1}', "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_damaged_json_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "some.json"
    file.write_bytes(content)
    with pytest.raises(RecordsError, match=said) as caught:
        read_object(file, RecordsError, "measure again")
    assert str(caught.value).startswith(str(file))
    assert str(caught.value).endswith("; measure again.")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "absent.json", "."):
        with pytest.raises(RecordsError, match="is not a file"):
            read_object(tmp_path / name, RecordsError, "measure again")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "marked.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_object(file, RecordsError, "measure again") == {"a": 1}
