"""`mlxprune publish` in a process of its own, against a Hub on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hub_server import HubServer
from pruned_checkpoint import REPO, hashes, published, save_checkpoint

from mlx_prune.cli.main import run

COMMAND = "from mlx_prune.cli.main import main; main()"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "checkpoint")


def test_killed_upload_resumes_with_what_is_missing(hub: HubServer, tmp_path: Path):
    checkpoint = save_checkpoint(tmp_path / "three", shards=3)
    shards = sorted(checkpoint.glob("*.safetensors"))
    reached, go_on = threading.Event(), threading.Event()

    def hold_third(attempt: int) -> int | None:
        if attempt == 3:
            reached.set()
            go_on.wait(60)
            return 500
        return None

    hub.on_upload = hold_third
    words = [sys.executable, "-c", COMMAND, "publish", str(checkpoint), REPO]
    environment = {**os.environ, **hub.environment(tmp_path)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    go_on.set()
    assert published(hub) == {}
    assert hub.uploads == hashes(*shards[:2])
    hub.on_upload = lambda _: None
    done = hub.python(tmp_path, *words[1:])
    assert done.returncode == 0, done.stderr
    assert hub.uploads == hashes(*shards)
    assert {name for name in published(hub) if name.endswith(".safetensors")} == {s.name for s in shards}


def test_nobody_logged_in_is_one_sentence(hub: HubServer, checkpoint: Path, tmp_path: Path):
    done = hub.python(tmp_path, "-c", COMMAND, "publish", str(checkpoint), REPO, token=False)
    assert done.returncode == 1
    assert "hf auth login" in done.stderr.splitlines()[-1]
    assert not hub.paths_requested("^(POST|PUT)")


def test_rejected_token_is_one_sentence_that_does_not_show_it(
    hub: HubServer, checkpoint: Path, tmp_path: Path
):
    token = "hf_" + "wrong" * 6
    done = hub.python(tmp_path, "-c", COMMAND, "publish", str(checkpoint), REPO, HF_TOKEN=token)
    assert done.returncode == 1
    assert "does not accept the token" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert token not in done.stdout + done.stderr
    assert not hub.repos


def test_dry_run_sends_nothing_and_lists_exactly_what_would_be_sent(
    hub: HubServer, checkpoint: Path, tmp_path: Path
):
    words = ["publish", str(checkpoint), REPO, "--collection", "Mine"]
    dry = hub.python(tmp_path, "-c", COMMAND, *words, "--dry-run", "--json", token=False)
    assert dry.returncode == 0, dry.stderr
    assert not hub.paths_requested("^(POST|PUT)")
    (plan,) = json.loads(dry.stdout)["would_publish"]
    people = hub.python(tmp_path, "-c", COMMAND, *words, "--dry-run")
    assert "private repository" in people.stdout
    assert "Nothing was sent" in people.stdout
    assert not hub.repos
    done = hub.python(tmp_path, "-c", COMMAND, *words, "--json")
    assert done.returncode == 0, done.stderr
    (publication,) = json.loads(done.stdout)["published"]
    assert publication["repo_id"] == plan["repo_id"]
    assert {name: len(data) for name, data in published(hub).items()} == plan["files"]
    assert published(hub)["README.md"].decode() == plan["card"]
    assert all(name in people.stdout for name in plan["files"])


def test_command_refuses_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    assert run(["publish", str(tmp_path / "empty"), REPO, "--dry-run"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
