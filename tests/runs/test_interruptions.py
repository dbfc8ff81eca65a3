"""Whatever stops an evaluation, its records are whole, and the same command completes them."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from answer_some import SETTINGS, items
from record_tables import responses
from tiny_models import save_tiny_model

from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.records import part_files, read_records

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(
        tmp_path_factory.mktemp("models") / "tiny", chat_template=None, num_hidden_layers=1
    )


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, str(SUPPORT / "answer_some.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def kill_repeatedly(model, run, count, kills, rng):
    """Start and kill -9 an evaluation at random moments; every file visible in between must be whole."""
    seen = 0
    for _ in range(kills):
        with start(model, run, count, 0.02) as process:
            # Somewhere between opening the folder and finishing a few more batches.
            for _ in range(rng.randrange(1, 4)):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        parts = part_files(run)
        assert all(pq.ParquetFile(part).metadata.num_rows > 0 for part in parts)
        now = read_records(run).num_rows
        assert now >= seen
        seen = now
    return seen


def check_killed_run(model, tmp_path, count, kills, seed):
    seen = kill_repeatedly(model, tmp_path / "run", count, kills, random.Random(seed))
    assert seen > 0
    rest = evaluate(model, tmp_path / "run", questions=items(count), generation=SETTINGS)
    whole = evaluate(model, questions=items(count), generation=SETTINGS)
    assert rest.new_records == 2 * count - seen
    assert read_records(tmp_path / "run").num_rows == 2 * count
    assert responses(rest.table) == responses(whole.table)
    assert not list(tmp_path.rglob("*.tmp"))


def test_killed_evaluations_lose_no_finished_batch_and_answer_nothing_twice(model, tmp_path):
    check_killed_run(model, tmp_path, count=40, kills=2, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(model, tmp_path, seed):
    check_killed_run(model, tmp_path, count=120, kills=8, seed=seed)


def test_a_second_evaluation_of_the_folder_is_refused(model, tmp_path):
    with start(model, tmp_path, 8, 60) as first:
        assert first.stdout.readline().startswith("answered")
        with start(model, tmp_path, 8) as second:
            told = second.stdout.read()
        first.kill()
    assert second.returncode == 1
    assert "another process is writing" in told


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount_point], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a tmpfs")
    yield mount_point
    subprocess.run(["umount", mount_point], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_stops_with_one_sentence_and_carries_on_with_space(model, small_disk):
    count = 40
    run = small_disk / "run"
    with start(model, run, count, "ask") as process:
        for _ in range(3):
            assert process.stdout.readline().startswith("answered")
            process.stdin.write("\n")
            process.stdin.flush()
        # Fill the disk behind the back of the evaluation, which has written something by now.
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        told, _ = process.communicate("\n" * 2 * count)
    assert process.returncode == 1
    assert "the disk is full" in told
    assert told.count("Error:") == 1
    kept = read_records(run).num_rows
    assert 0 < kept < 2 * count
    filler.unlink()
    rest = evaluate(model, run, questions=items(count), generation=SETTINGS)
    assert rest.new_records == 2 * count - kept
    assert responses(rest.table) == responses(
        evaluate(model, questions=items(count), generation=SETTINGS).table
    )
