"""How the loopback Hub answers: what its HTTP API reads, what it writes, and collections."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_store import GITATTRIBUTES, Commit, Repo, etag, file_entry, folder_entry, tree_entries, upload_mode

if TYPE_CHECKING:
    from hub_server import HubServer

TOKEN = "hf_loopback_test_token"
USER = "tester"


class Answering(BaseHTTPRequestHandler):
    """What every answer needs: routes, bodies, refusals, and who asks."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        self._dispatch()

    do_HEAD = do_POST = do_PUT = do_GET

    def _dispatch(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        self.body = self._read_body()
        self.hub.requests.append(f"{self.command} {unquote(url.path)}")
        for methods, pattern, action in _ROUTES:
            found = re.fullmatch(pattern, url.path)
            if found and self.command in methods:
                return action(self, **{key: unquote(value or "") for key, value in found.groupdict().items()})
        return self._fail(404, "EntryNotFound", f"no such page: {url.path}")

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, payload: Any, status: int = 200) -> None:
        self._send(status, json.dumps(payload).encode())

    def _fail(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _refused_writer(self) -> bool:
        if not self._authorized():
            self._fail(401, "", "Invalid credentials in Authorization header")
            return True
        return False

    def _repo(self, kind: str, repo_id: str) -> Repo | None:
        repo = self.hub.repos.get((kind.removesuffix("s") or "model", repo_id))
        if repo is None or (repo.private and not self._authorized()):
            self._fail(404 if self._authorized() else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def _revision(self, repo: Repo, revision: str) -> Commit | None:
        commit = repo.at(revision or "main")
        if commit is None:
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit


class Reading(Answering):
    """Repositories and their files."""

    def whoami(self) -> None:
        if not self._refused_writer():
            self._json({"type": "user", "name": USER, "orgs": []})

    def repo_info(self, kind: str, repo_id: str, revision: str = "") -> None:
        if (repo := self._repo(kind, repo_id)) and (commit := self._revision(repo, revision)):
            info = {"_id": repo_id, "id": repo_id, "sha": commit.sha, "private": repo.private, "tags": []}
            siblings = [{"rfilename": name} for name in sorted(commit.files)]
            rest = {"downloads": 0, "likes": 0, "gated": False, "disabled": False, "siblings": siblings}
            self._json({**info, **rest})

    def tree(self, kind: str, repo_id: str, revision: str, path: str = "") -> None:
        if (repo := self._repo(kind, repo_id)) and (commit := self._revision(repo, revision)):
            recursive = self.query.get("recursive", "").lower() in ("true", "1")
            entries = tree_entries(commit.files, path, recursive=recursive)
            if path and not entries:
                return self._fail(404, "EntryNotFound", f"{path} does not exist")
            return self._json(entries)
        return None

    def paths_info(self, kind: str, repo_id: str, revision: str) -> None:
        if (repo := self._repo(kind, repo_id)) and (commit := self._revision(repo, revision)):
            form = parse_qs(self.body.decode())
            paths = form["paths"] if "paths" in form else json.loads(self.body)["paths"]
            files = commit.files
            found = [file_entry(path, files[path]) for path in paths if path in files]
            found += [folder_entry(p) for p in paths if any(name.startswith(f"{p}/") for name in files)]
            self._json(found)

    def refs(self, kind: str, repo_id: str) -> None:
        if repo := self._repo(kind, repo_id):
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1].sha}
            self._json({"branches": [main], "tags": [], "converts": []})

    def resolve(self, kind: str, repo_id: str, revision: str, path: str) -> None:
        if (repo := self._repo(kind, repo_id)) and (commit := self._revision(repo, revision)):
            if path not in commit.files:
                return self._fail(404, "EntryNotFound", f"{path} does not exist")
            data = commit.files[path]
            headers = {"ETag": f'"{etag(path, data)}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
            headers |= {"Content-Type": "application/octet-stream", "X-Linked-Size": str(len(data))}
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if not wanted:
                return self._send(200, data, headers)
            first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
            if first > last:
                return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self._send(206, data[first : last + 1], headers)
        return None


class Writing(Answering):
    """Repositories made, objects uploaded, and commits."""

    def create_repo(self) -> None:
        if self._refused_writer():
            return None
        wanted = json.loads(self.body)
        repo_id = f"{wanted.get('organization') or USER}/{wanted['name']}"
        kind = wanted.get("type") or "model"
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        prefix = "datasets/" if kind == "dataset" else ""
        answer = {"url": f"{self.hub.endpoint}/{prefix}{repo_id}", "name": repo_id, "id": repo_id}
        with self.hub.lock:
            exists = (kind, repo_id) in self.hub.repos
            if not exists:
                self.hub.add_repo(repo_id, {".gitattributes": GITATTRIBUTES}, kind=kind, private=private)
        if exists:
            return self._json({**answer, "error": "You already created this model repo"}, 409)
        return self._json(answer)

    def validate_yaml(self) -> None:
        text = json.loads(self.body)["content"]
        header = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
        warnings = [] if header else [{"message": "empty or missing yaml metadata in repo card"}]
        self._json({"errors": [], "warnings": warnings})

    def preupload(self, kind: str, repo_id: str, revision: str) -> None:
        if not self._refused_writer() and (repo := self._repo(kind, repo_id)):
            self._json({"files": [upload_mode(repo, file) for file in json.loads(self.body)["files"]]})

    def lfs_batch(self, kind: str, repo_id: str) -> None:
        if not self._refused_writer() and self._repo(kind, repo_id):
            objects = [{"oid": o["oid"], "size": o["size"]} for o in json.loads(self.body)["objects"]]
            for wanted in objects:
                if wanted["oid"] not in self.hub.objects:
                    wanted["actions"] = {"upload": {"href": f"{self.hub.endpoint}/lfs/{wanted['oid']}"}}
            self._json({"transfer": "basic", "objects": objects})

    def upload_object(self, oid: str) -> None:
        with self.hub.lock:
            self.hub.upload_attempts += 1
            attempt = self.hub.upload_attempts
        refused = self.hub.on_upload(attempt)
        if refused is not None:
            return self._fail(refused, "", "the upload was refused")
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._fail(400, "", "the object does not hash to its name")
        with self.hub.lock:
            self.hub.objects[oid] = self.body
            self.hub.uploads.append(oid)
        return self._send(200, b"")

    def commit(self, kind: str, repo_id: str, revision: str) -> None:
        if self._refused_writer() or not (repo := self._repo(kind, repo_id)):
            return None
        with self.hub.lock:
            files = dict(repo.files)
            for line in self.body.splitlines():
                operation = json.loads(line)
                key, value = operation["key"], operation["value"]
                if key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    if value["oid"] not in self.hub.objects:
                        return self._fail(400, "", f"{value['path']}: the LFS object was never uploaded")
                    files[value["path"]] = self.hub.objects[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
                elif key != "header":
                    return self._fail(400, "", f"operation {key} is not known here")
            sha = repo.commit(files)
        url = f"{self.hub.endpoint}/{repo_id}/commit/{sha}"
        return self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})


class Collections(Answering):
    """Lists of repositories."""

    def list_collections(self) -> None:
        owner = self.query.get("owner")
        found = [c for c in self.hub.collections.values() if owner in (None, c["owner"]["name"])]
        visible = [c for c in found if self._authorized() or not c["private"]]
        # As on the Hub: at most four items of each, and no position, which clients count themselves.
        listed = [{**collection, "items": collection["items"][:4]} for collection in visible]
        self._json([{k: v for k, v in collection.items() if k != "position"} for collection in listed])

    def create_collection(self) -> None:
        if self._refused_writer():
            return None
        wanted = json.loads(self.body)
        words = re.sub(r"[^a-z0-9]+", "-", wanted["title"].lower()).strip("-")
        slug = f"{wanted['namespace']}/{words}-{len(self.hub.collections) + 1:024x}"
        for known in self.hub.collections.values():
            if (known["title"], known["owner"]["name"]) == (wanted["title"], wanted["namespace"]):
                return self._json({"error": "The collection exists", "slug": known["slug"]}, 409)
        collection = {
            "slug": slug,
            "title": wanted["title"],
            "description": wanted.get("description"),
            "owner": {"name": wanted["namespace"]},
            "items": [],
            "lastUpdated": "2026-01-01T00:00:00.000Z",
            "position": 0,
            "private": wanted["private"],
            "theme": "green",
            "upvotes": 0,
        }
        self.hub.collections[slug] = collection
        return self._json(collection)

    def get_collection(self, slug: str) -> None:
        collection = self.hub.collections.get(slug)
        if collection is None or (collection["private"] and not self._authorized()):
            return self._fail(404, "", "Collection not found")
        return self._json(collection)

    def add_item(self, slug: str) -> None:
        collection = self.hub.collections.get(slug)
        if self._refused_writer() or collection is None:
            return None if collection else self._fail(404, "", "Collection not found")
        wanted = json.loads(self.body)["item"]
        if (wanted["type"], wanted["id"]) not in self.hub.repos:
            return self._fail(404, "RepoNotFound", "Repository not found")
        if any(item["id"] == wanted["id"] for item in collection["items"]):
            return self._fail(409, "", "The item is already in the collection")
        position = len(collection["items"])
        collection["items"].append({"_id": f"{position:024x}", "position": position, **wanted})
        return self._json(collection)


class Handler(Reading, Writing, Collections):
    """All of it."""


_KIND = r"/api/(?P<kind>models|datasets)/(?P<repo_id>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets)/)?(?P<repo_id>[^/]+/[^/]+?)"
_SLUG = r"/api/collections/(?P<slug>[^/]+/[^/]+)"
_READ = ("GET", "HEAD")
_ROUTES: list[tuple[tuple[str, ...], str, Callable[..., None]]] = [
    (_READ, r"/api/whoami-v2", Handler.whoami),
    (_READ, _KIND + r"(?:/revision/(?P<revision>[^/]+))?", Handler.repo_info),
    (_READ, _KIND + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", Handler.tree),
    (("POST",), _KIND + r"/paths-info/(?P<revision>[^/]+)", Handler.paths_info),
    (_READ, _KIND + r"/refs", Handler.refs),
    (_READ, _PAGE + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    (("POST",), r"/api/repos/create", Handler.create_repo),
    (("POST",), r"/api/validate-yaml", Handler.validate_yaml),
    (("POST",), _KIND + r"/preupload/(?P<revision>[^/]+)", Handler.preupload),
    (("POST",), _PAGE + r"\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (("PUT",), r"/lfs/(?P<oid>[0-9a-f]{64})", Handler.upload_object),
    (("POST",), _KIND + r"/commit/(?P<revision>[^/]+)", Handler.commit),
    (_READ, r"/api/collections", Handler.list_collections),
    (("POST",), r"/api/collections", Handler.create_collection),
    (_READ, _SLUG, Handler.get_collection),
    (("POST",), _SLUG + r"/items", Handler.add_item),
]
