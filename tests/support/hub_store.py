"""What the loopback Hub keeps: repositories with their commits, and how its API describes their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".pt", ".pkl", ".model")
GITATTRIBUTES = "".join(
    f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES
).encode()


class Commit(NamedTuple):
    """All files of a repository at one moment."""

    sha: str
    files: dict[str, bytes]


@dataclass
class Repo:
    """One repository: its files at every commit, the newest last."""

    kind: str  # "model" | "dataset"
    repo_id: str
    private: bool = False
    commits: list[Commit] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files

    def commit(self, files: Mapping[str, bytes], sha: str | None = None) -> str:
        parent = self.commits[-1].sha if self.commits else ""
        names = "".join(f"{name}:{git_oid(data)}\n" for name, data in sorted(files.items()))
        sha = sha or hashlib.sha1((parent + self.repo_id + names).encode()).hexdigest()
        self.commits.append(Commit(sha, dict(files)))
        return sha

    def at(self, revision: str) -> Commit | None:
        if revision in ("main", "refs/heads/main"):
            return self.commits[-1]
        return next((commit for commit in self.commits if commit.sha == revision), None)


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(path: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if is_lfs(path) else git_oid(data)


def file_entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
    if is_lfs(path):
        entry["lfs"] = {"oid": etag(path, data), "size": len(data), "pointerSize": 134}
    return entry


def folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}


def tree_entries(files: Mapping[str, bytes], path: str, *, recursive: bool) -> list[dict[str, Any]]:
    """The entries below a folder ("" is the root): its direct ones, or all of them."""
    prefix = f"{path}/" if path else ""
    folders: set[str] = set()
    entries = []
    for name in sorted(files):
        if not name.startswith(prefix):
            continue
        parents = name.removeprefix(prefix).split("/")[:-1]
        shown = len(parents) if recursive else min(len(parents), 1)
        folders.update(prefix + "/".join(parents[: depth + 1]) for depth in range(shown))
        if recursive or not parents:
            entries.append(file_entry(name, files[name]))
    return [folder_entry(folder) for folder in sorted(folders)] + entries


def upload_mode(repo: Repo, file: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the preupload request for one file: how to send it, and what is there already."""
    path = file["path"]
    mode = {"path": path, "shouldIgnore": False, "uploadMode": "lfs" if is_lfs(path) else "regular"}
    return {**mode, "oid": etag(path, repo.files[path])} if path in repo.files else mode
