"""Evaluations split over two local processes of MLX's ring backend."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agreement import make_items
from answer_together import SETTINGS
from tiny_models import save_tiny_model

from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.records import read_records
from mlx_prune.store import locked

SUPPORT = Path(__file__).resolve().parents[1] / "support"
COUNT = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_tiny_model(folder, chat_template=None, num_hidden_layers=1)


@pytest.fixture(scope="module")
def alone(model):
    table = evaluate(model, questions=make_items(COUNT), generation=SETTINGS).table
    return table.select(["item_id", "seed", "raw_response"]).to_pylist()


def launch(tmp_path, model, run, *, ranks=2, **environment):
    """Run every rank as ``mlx.launch`` would, and return what each wrote, or None where it died."""
    hosts = tmp_path / "hosts.json"
    with_ports = [socket.socket() for _ in range(ranks)]
    for one in with_ports:
        one.bind(("127.0.0.1", 0))
    hosts.write_text(json.dumps([[f"127.0.0.1:{one.getsockname()[1]}"] for one in with_ports]))
    for one in with_ports:
        one.close()
    script = SUPPORT / "answer_together.py"
    processes = [
        subprocess.Popen(
            [sys.executable, script, model, run, str(COUNT), tmp_path / "result"],
            env={
                **os.environ,
                "PYTHONPATH": str(SUPPORT),
                "MLX_RANK": str(rank),
                "MLX_HOSTFILE": str(hosts),
                **environment,
            },
        )
        for rank in range(ranks)
    ]
    if "DIE_AFTER" in environment:
        assert processes[0].wait(timeout=300) == 9
        # A launcher ends the others when one process dies.
        for process in processes[1:]:
            process.kill()
            process.wait()
        return None
    assert [process.wait(timeout=300) for process in processes] == [0] * ranks
    told = [json.loads((tmp_path / f"result-{rank}.json").read_text()) for rank in range(ranks)]
    assert [one["size"] for one in told] == [ranks] * ranks
    return told


def test_two_processes_give_the_records_of_one(tmp_path, model, alone):
    run = tmp_path / "run"
    told = launch(tmp_path, model, run)
    assert [one["records"] for one in told] == [alone, alone]
    assert read_records(run).num_rows == 2 * COUNT
    writers = {path.name.split("-")[2] for path in (run / "records").iterdir()}
    assert writers == {"000", "001"}
    # Progress is told by rank 0 alone, up to the whole.
    assert told[0]["reports"][-1] == 2 * COUNT
    assert told[1]["reports"] == []
    data = RunFolder(run).about.entries
    assert (data["status"], data["totals"]["records"]) == ("complete", 2 * COUNT)
    assert data["sessions"][0]["ranks"] == 2


def test_a_job_whose_rank_died_is_finished_by_any_number_of_ranks(tmp_path, model, alone):
    run = tmp_path / "run"
    launch(tmp_path, model, run, DIE_AFTER="24")
    kept = read_records(run).num_rows
    assert 0 < kept < 2 * COUNT
    evaluation = evaluate(model, run, questions=make_items(COUNT), generation=SETTINGS)
    assert evaluation.new_records == 2 * COUNT - kept
    assert evaluation.table.select(["item_id", "seed", "raw_response"]).to_pylist() == alone
    assert read_records(run).num_rows == 2 * COUNT


def test_ranks_on_separate_disks_bring_their_records_together(tmp_path, model, alone):
    told = launch(tmp_path, model, tmp_path / "disk-{}" / "run")
    assert [one["records"] for one in told] == [alone, alone]
    assert read_records(tmp_path / "disk-0" / "run").num_rows == 2 * COUNT
    assert 0 < read_records(tmp_path / "disk-1" / "run").num_rows < 2 * COUNT
    again = launch(tmp_path, model, tmp_path / "disk-{}" / "run")
    assert [one["new"] for one in again] == [0, 0]


def test_every_rank_stops_when_the_folder_is_in_use(tmp_path, model):
    run = tmp_path / "run"
    with locked(run):
        told = launch(tmp_path, model, run)
    assert "another process is writing" in told[0]["error"]
    assert "process 0 of this job" in told[1]["error"]
