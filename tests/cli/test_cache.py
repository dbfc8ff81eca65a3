"""The cache is shown by kind and cleared by kind and age; what is not its own stays."""

from __future__ import annotations

import json
import os
import time

import pytest

from mlx_prune import caches
from mlx_prune.cli.main import run

NAME = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_PRUNE_CACHE", str(tmp_path))
    keep(tmp_path / "statistics" / NAME / "dense.safetensors", 1000, 3)
    keep(tmp_path / "statistics" / NAME / "first-block.safetensors", 500, 12)
    keep(tmp_path / "statistics" / OTHER / "dense.safetensors", 700, 40)
    keep(tmp_path / "distributions" / f"{NAME}.safetensors", 2000, 0)
    keep(tmp_path / "distributions" / f".{OTHER}.safetensors.42.tmp", 90, 2)
    keep(tmp_path / "hashes" / NAME, 64, 50)
    keep(tmp_path / "hashes" / "notes.txt", 5, 50)
    keep(tmp_path / "thesis" / NAME, 5, 50)
    (tmp_path / "hashes" / OTHER).symlink_to(tmp_path / "thesis" / NAME)
    return tmp_path


def keep(file, n_bytes, days):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(n_bytes))
    then = time.time() - days * 86_400 - 5
    os.utime(file, (then, then))


def told(capsys, *words):
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_kept_is_counted_by_kind(folder, capsys):
    data = told(capsys, "cache")
    assert data["folder"] == str(folder)
    assert {row["kind"]: (row["entries"], row["bytes"]) for row in data["kinds"]} == {
        "statistics": (2, 2200),
        "distributions": (2, 2090),
        "hashes": (1, 64),
    }
    assert data["bytes"] == 4354
    # Of an entry with several files the newest tells.
    assert [round(row["newest_days"]) for row in data["kinds"]] == [3, 0, 50]
    assert run(["cache"]) == 0
    shown = capsys.readouterr().out
    assert "distributions" in shown
    assert "40 days" in shown
    assert str(folder) in shown


def test_one_kind_is_cleared_and_nothing_else(folder, capsys):
    before = files(folder)
    data = told(capsys, "cache", "clear", "statistics", "--yes")
    assert (data["deleted"]["entries"], data["deleted"]["bytes"]) == (2, 2200)
    assert files(folder) == {name for name in before if not name.startswith("statistics/")}
    assert list((folder / "statistics").iterdir()) == []


def test_only_what_is_old_is_cleared(folder, capsys):
    data = told(capsys, "cache", "clear", "--older-than", "30", "--yes")
    assert data["deleted"]["entries"] == 2
    assert f"statistics/{NAME}/dense.safetensors" in files(folder)
    assert f"statistics/{OTHER}/dense.safetensors" not in files(folder)


def test_clearing_all_leaves_what_is_somebody_elses(folder, capsys):
    assert run(["cache", "clear", "--yes"]) == 0
    assert "Deleted 5 entries of 4.4 kB." in capsys.readouterr().out
    assert files(folder) == {"hashes/notes.txt", f"thesis/{NAME}", f"hashes/{OTHER}"}
    assert run(["cache", "clear", "--yes"]) == 0
    assert "There is nothing to delete." in capsys.readouterr().out
    assert caches.entries() == []


def test_a_file_that_may_still_be_written_is_left_alone(folder):
    keep(folder / "distributions" / f".{NAME}.safetensors.7.tmp", 10, 0)
    assert len(caches.entries(("distributions",))) == 2


def test_nothing_is_deleted_unasked(folder, capsys):
    before = files(folder)
    assert run(["cache", "clear"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert files(folder) == before


def test_an_absent_folder_is_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLX_PRUNE_CACHE", str(tmp_path / "none"))
    assert told(capsys, "cache")["kinds"] == []
    assert not (tmp_path / "none").exists()
