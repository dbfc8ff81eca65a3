"""A run folder while it is written: one configuration, one process, and files that are whole or absent."""

import errno
import json
import os
import subprocess
import sys

import pytest
from agreement import make_items
from record_tables import table_of

from mlx_prune.errors import RecordsError
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.session import configuration_hash, open_run
from mlx_prune.store import locked, write_atomically

CONFIGURATION = {"model": "demo", "temperature": 0.3, "seeds": [1, 2], "limit": None}


def test_a_new_run_says_what_it_is(tmp_path):
    with open_run(tmp_path / "run", CONFIGURATION) as folder:
        assert folder.done() == set()
    data = RunFolder(tmp_path / "run").about.entries
    assert data["configuration"] == CONFIGURATION
    assert data["configuration_hash"] == configuration_hash(CONFIGURATION)
    assert data["status"] == "running"
    assert data["versions"]["mlx-prune"]


def test_records_are_found_again(tmp_path):
    items = make_items(4)
    with open_run(tmp_path, CONFIGURATION) as folder:
        folder.write(table_of(items[:2]))
        folder.write(table_of(items[:0]))
    with open_run(tmp_path, CONFIGURATION) as folder:
        assert folder.done() == {(item.item_id, seed) for item in items[:2] for seed in (0, 1)}
        folder.write(table_of(items[2:]))
        assert folder.collect().num_rows == 8
    assert len(list((tmp_path / "records").iterdir())) == 2


def test_another_configuration_is_refused_by_the_fields_that_differ(tmp_path):
    with open_run(tmp_path, CONFIGURATION) as folder:
        folder.write(table_of(make_items(1)))
    with (
        pytest.raises(RecordsError, match=r"seeds \(there \[1, 2\], now \[3\]\), temperature") as caught,
        open_run(tmp_path, {**CONFIGURATION, "temperature": 0.5, "seeds": [3]}),
    ):
        pass
    assert "model" not in str(caught.value)
    assert RunFolder(tmp_path).about.entries["configuration"] == CONFIGURATION


def test_force_starts_anew(tmp_path):
    other = {**CONFIGURATION, "temperature": 0.5}
    with open_run(tmp_path, CONFIGURATION) as folder:
        folder.write(table_of(make_items(2)))
    with open_run(tmp_path, other, force=True) as folder:
        assert folder.done() == set()
    assert RunFolder(tmp_path).about.entries["configuration"] == other


def test_records_without_their_configuration_are_refused(tmp_path):
    with open_run(tmp_path, CONFIGURATION) as folder:
        folder.write(table_of(make_items(1)))
    (tmp_path / "run.json").unlink()
    with pytest.raises(RecordsError, match=r"no run\.json"), open_run(tmp_path, CONFIGURATION):
        pass


def test_a_damaged_run_file_is_refused(tmp_path):
    with open_run(tmp_path, CONFIGURATION):
        pass
    (tmp_path / "run.json").write_text('{"format": 1, "conf')
    with (
        pytest.raises(RecordsError, match=r"run\.json is not valid JSON .*--force"),
        open_run(tmp_path, CONFIGURATION),
    ):
        pass


def test_records_that_are_there_twice_are_noticed(tmp_path):
    with open_run(tmp_path, CONFIGURATION) as folder:
        folder.write(table_of(make_items(1)))
        folder.write(table_of(make_items(1)))
        with pytest.raises(RecordsError, match="2 records twice"):
            folder.done()


def test_leftovers_of_a_killed_process_go_away(tmp_path):
    (tmp_path / "records").mkdir()
    for leftover in (tmp_path / ".run.json.tmp", tmp_path / "records" / ".part-x.parquet.tmp"):
        leftover.write_bytes(b"half")
    with open_run(tmp_path, CONFIGURATION):
        names = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in names if name.endswith(".tmp")]


def test_the_hash_ignores_the_order_of_keys_and_sees_every_value():
    assert configuration_hash({"a": 1, "b": None}) == configuration_hash({"b": None, "a": 1})
    assert configuration_hash({"a": 1}) != configuration_hash({"a": 2})


def test_a_second_process_is_refused_while_the_first_works(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mlx_prune.store import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RecordsError, match="another process is writing"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        # The lock died with its holder.
        with locked(tmp_path):
            pass


def test_rank_0_refuses_a_folder_where_another_rank_still_works(tmp_path):
    with (
        locked(tmp_path, rank=3),
        pytest.raises(RecordsError, match="another process"),
        locked(tmp_path, rank=0),
    ):
        pass
    with locked(tmp_path, rank=0), locked(tmp_path, rank=1):
        pass


@pytest.mark.parametrize("failing", ["fsync", "write"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, failing):
    target = tmp_path / "file"
    write_atomically(target, b"before")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr("builtins.open", full)
    with pytest.raises(RecordsError, match=r"the disk is full at .*free some space"):
        write_atomically(target, b"after")
    monkeypatch.undo()
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path):
    (tmp_path / "run").write_text("I am a file")
    with pytest.raises(RecordsError, match="cannot write"), open_run(tmp_path / "run", CONFIGURATION):
        pass


def test_run_file_is_valid_json_after_updates(tmp_path):
    with open_run(tmp_path, CONFIGURATION) as folder:
        folder.update(status="complete", session={"n": 1})
        folder.update(session={"n": 2})
    data = json.loads((tmp_path / "run.json").read_text())
    assert data["status"] == "complete"
    assert [session["n"] for session in data["sessions"]] == [1, 2]
