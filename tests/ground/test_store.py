"""Files are complete or absent, and one process at a time holds a lock."""

import os

import pytest

from mlx_prune.errors import RecordsError
from mlx_prune.json_files import fingerprint
from mlx_prune.store import complete_file, lock, remove_leftovers, write_json


def test_a_file_that_is_not_finished_leaves_what_was_there(tmp_path):
    write_json(tmp_path / "state.json", {"blocks": 1})

    def interrupted():
        with complete_file(tmp_path / "state.json") as file:
            file.write(b"{")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "state.json").read_text() == '{\n  "blocks": 1\n}\n'
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_processes_that_write_the_same_file_do_not_meet(tmp_path, monkeypatch):
    with complete_file(tmp_path / "sums", shared=True) as mine:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with complete_file(tmp_path / "sums", shared=True) as other:
            other.write(b"12")
        mine.write(b"12")
    assert [path.name for path in tmp_path.iterdir()] == ["sums"]


def test_a_lock_is_held_until_its_descriptor_is_closed(tmp_path):
    held = lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        lock(tmp_path / "lock")
    os.close(held)
    os.close(lock(tmp_path / "lock"))


def test_a_folder_that_is_a_file_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordsError, match="cannot write"):
        write_json(tmp_path / "file" / "state.json", {})


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1})
