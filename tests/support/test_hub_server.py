"""The loopback Hub answers huggingface_hub and datasets as the real one would; other tests lean on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_handler import TOKEN
from hub_server import HubServer

SNAPSHOT = "import sys; from huggingface_hub import snapshot_download; print(snapshot_download(sys.argv[1]))"
UPLOAD = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo(sys.argv[1], private=True, exist_ok=True)
print(api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2]).oid)
"""
ROWS = "import sys, datasets; print(datasets.load_dataset(sys.argv[1], split='second')['n'][:])"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Text\n")
    (folder / "model.safetensors").write_bytes(np.random.default_rng(0).bytes(100_000))
    (folder / "sub" / "config.json").write_text(json.dumps({"é": 1}))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_snapshot_is_byte_equal_and_comes_from_the_cache_next_time(
    hub: HubServer, folder: Path, tmp_path: Path
):
    hub.add_repo("org/name", folder)
    first = hub.python(tmp_path, "-c", SNAPSHOT, "org/name")
    assert first.returncode == 0, first.stderr
    assert contents(Path(first.stdout.strip())) == contents(folder)
    hub.requests.clear()
    again = hub.python(tmp_path, "-c", SNAPSHOT, "org/name")
    assert again.stdout == first.stdout
    assert not hub.paths_requested(r"^GET /org/name/resolve")


def test_upload_stores_what_was_sent_and_repeating_it_sends_nothing(
    hub: HubServer, folder: Path, tmp_path: Path
):
    done = hub.python(tmp_path, "-c", UPLOAD, "tester/new", str(folder))
    assert done.returncode == 0, done.stderr
    repo = hub.repos["model", "tester/new"]
    assert repo.private
    assert {name: data for name, data in repo.files.items() if name != ".gitattributes"} == contents(folder)
    assert hub.uploads == [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()]
    commits = len(repo.commits)
    again = hub.python(tmp_path, "-c", UPLOAD, "tester/new", str(folder))
    assert again.returncode == 0, again.stderr
    assert len(repo.commits) == commits
    assert len(hub.uploads) == 1


def test_private_repositories_and_writing_need_the_token(hub: HubServer, folder: Path, tmp_path: Path):
    hub.add_repo("org/secret", folder, private=True)
    refused = hub.python(tmp_path / "a", "-c", SNAPSHOT, "org/secret", token=False)
    assert refused.returncode == 1
    assert "RepositoryNotFoundError" in refused.stderr
    assert hub.python(tmp_path / "b", "-c", SNAPSHOT, "org/secret").returncode == 0
    refused = hub.python(tmp_path / "a", "-c", UPLOAD, "tester/new", str(folder), token=False)
    assert refused.returncode == 1
    assert ("model", "tester/new") not in hub.repos
    assert TOKEN not in refused.stderr


def test_datasets_reads_a_split_of_a_repository_of_parquet_files(hub: HubServer, tmp_path: Path):
    source = tmp_path / "source"
    (source / "data").mkdir(parents=True)
    for split, numbers in {"first": [1, 2], "second": [3, 4, 5]}.items():
        pq.write_table(pa.table({"n": numbers}), source / "data" / f"{split}-00000-of-00001.parquet")
    hub.add_repo("org/rows", source, kind="dataset")
    done = hub.python(tmp_path, "-c", ROWS, "org/rows")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[3, 4, 5]"
