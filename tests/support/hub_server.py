"""A small server on loopback that speaks as much of the Hugging Face Hub's HTTP API as the tests need.

It serves models and data sets (info, tree, resolve with ETag and Range) and takes uploads the way the Hub
takes them: repository creation, preupload, Git LFS batch and object uploads, commits; and collections.
Everything is kept in memory and checked: an object must hash to its name, a commit may only name objects that
were uploaded, writing and private repositories need the token.

Clients find it through ``HF_ENDPOINT``, which huggingface_hub reads when it is imported: run them in a
process of their own with :meth:`HubServer.environment`, or hand ``HfApi(endpoint=hub.endpoint)`` to what
takes one. Xet is not spoken; ``HF_HUB_DISABLE_XET=1`` (part of the environment) makes clients use Git LFS.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hub_handler import TOKEN, Handler
from hub_store import Repo


class HubServer:
    """The server; a context manager that listens while it is open.

    Attributes:
        repos: Repositories by ("model" or "dataset", id).
        collections: Collections by slug, as the Hub's JSON.
        requests: Every request so far, as "GET /path".
        uploads: SHA-256 of every object whose upload was accepted, in order.
        on_upload: Called before the n-th object upload (from 1) is accepted; answers None to accept it, or
            the HTTP status to refuse it with. It may block, which holds that upload up.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.uploads: list[str] = []
        self.on_upload: Callable[[int], int | None] = lambda _: None
        self.lock = threading.RLock()
        self.upload_attempts = 0
        handler = type("Handler", (Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        # A short poll interval: shutdown waits for one poll.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_repo(
        self,
        repo_id: str,
        files: Path | Mapping[str, bytes],
        *,
        kind: str = "model",
        private: bool = False,
        sha: str | None = None,
    ) -> Repo:
        """Put a repository on the Hub: a folder's files, or names and contents; `sha` names the commit."""
        if isinstance(files, Path):
            files = {
                path.relative_to(files).as_posix(): path.read_bytes()
                for path in sorted(files.rglob("*"))
                if path.is_file()
            }
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private)
        repo.commit(files, sha)
        return repo

    def environment(self, home: Path, *, token: bool = True) -> dict[str, str]:
        """Environment variables that make a fresh process use this Hub, with its caches under `home`."""
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": TOKEN if token else "",
            "NO_PROXY": "127.0.0.1",
        }
        return variables if token else {**variables, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}

    def python(
        self, home: Path, *arguments: str, token: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments (and variables) as a process of its own that uses this Hub."""
        environment = {**os.environ, **self.environment(home, token=token), **variables}
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def paths_requested(self, pattern: str) -> list[str]:
        """The requests whose "METHOD /path" matches a regular expression."""
        return [request for request in self.requests if re.search(pattern, request)]
