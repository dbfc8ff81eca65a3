"""Configurations run in several processes at once: what they leave is what one process leaves."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from record_tables import assert_same_records
from tiny_models import save_tiny_model

from mlx_prune import environment
from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import CheckpointError, DataError, RecordsError
from mlx_prune.report.data import read_study
from mlx_prune.runs.records import read_records
from mlx_prune.shares import memory_sharers
from mlx_prune.study import side_by_side
from mlx_prune.study.config import Bbq, Generation, Grid, StudyConfig, config_to_dict
from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
from mlx_prune.study.runner import StudyEvent, run_study


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    model = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")
    return StudyConfig(
        models=(str(model),),
        grid=Grid(methods=("magnitude", "wanda", "width"), sparsities=(50.0,)),
        calibration=Calibration("demo", samples=2, sequence_length=32),
        bbq=Bbq("demo", limit=6),
        generation=Generation(seeds=(1, 2)),
        perplexity=PerplexityMeasure(text="demo", sequences=2, sequence_length=32),
        latency=LatencyMeasure(enabled=False),
        save_checkpoints=True,
    )


@pytest.mark.skipif(environment.backend() != "cpu", reason="a GPU takes one configuration at a time")
def test_two_processes_leave_what_one_leaves_and_carry_on_after_one_was_killed(
    config: StudyConfig, tmp_path: Path
) -> None:
    # Long, as four processes start.
    together, alone = tmp_path / "together", tmp_path / "alone"
    events: list[tuple[str, str]] = []

    def kill_one(event: StudyEvent) -> None:
        events.append((event.name.folder, event.state))
        if event.state == "done":
            for process in multiprocessing.active_children():
                process.kill()

    with pytest.raises(
        RecordsError, match=r"a process that worked on .* was ended \(signal 9\); what was fin"
    ):
        run_study(config, together, jobs=2, watch=kill_one)
    assert multiprocessing.active_children() == []
    (finished,) = [folder for folder, state in events if state == "done"]

    states: dict[str, str] = {}
    threads = os.environ.get("OPENBLAS_NUM_THREADS")
    unfinished: list[int] = []
    run_study(
        config,
        together,
        jobs=2,
        watch=lambda event: states.update({event.name.folder: event.state}),
        meanwhile=lambda: unfinished.append([*states.values()].count("running")),
    )
    # Once, when one process had nothing left to do, and mostly the other had.
    assert len(unfinished) == 1
    assert unfinished[0] < 2
    assert os.environ.get("OPENBLAS_NUM_THREADS") == threads
    assert memory_sharers() == 1
    assert states.pop(finished) == "there"
    assert set(states.values()) == {"done"}
    run_study(config, alone)
    one, two = read_study(alone), read_study(together)
    assert two.perplexity == pytest.approx(one.perplexity, rel=1e-5)
    assert two.size_bytes == one.size_bytes
    assert not (together / ".work").exists()
    for run in sorted((alone / "runs" / "tiny").iterdir()):
        other = together / "runs" / "tiny" / run.name
        assert_same_records(read_records(run), read_records(other))
    for saved in sorted((alone / "checkpoints").glob("*/model.safetensors")):
        other = together / saved.relative_to(alone)
        assert saved.read_bytes() == other.read_bytes()
        assert "SRS" in (other.parent / "README.md").read_text()


@pytest.mark.skipif(environment.backend() != "cpu", reason="a GPU takes one configuration at a time")
def test_what_a_process_refuses_is_told_as_its_own_sentence(config: StudyConfig, tmp_path: Path) -> None:
    broken = tmp_path / "tiny"
    save_tiny_model(broken, "llama")
    (broken / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        run_study(dataclasses.replace(config, models=(str(broken),)), tmp_path / "study", jobs=2)
    assert multiprocessing.active_children() == []


def test_processes_end_with_the_one_that_started_them(config: StudyConfig, tmp_path: Path) -> None:
    import tomli_w

    longer = dataclasses.replace(config, bbq=Bbq("demo"), save_checkpoints=False)
    (tmp_path / "study.toml").write_text(tomli_w.dumps(config_to_dict(longer)))
    command = "import sys; from mlx_prune.cli.main import run; sys.exit(run(sys.argv[1:]))"
    words = ["study", str(tmp_path / "study.toml"), "-o", str(tmp_path / "out"), "--jobs", "2"]
    parent = subprocess.Popen([sys.executable, "-c", command, *words], stderr=subprocess.DEVNULL)
    runs = tmp_path / "out" / "runs" / "tiny"
    _until(lambda: len(list(runs.glob("*/.lock-0"))) == 2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()

    def free() -> bool:
        from mlx_prune.store import locked

        try:
            for run in runs.iterdir():
                with locked(run):
                    pass
        except RecordsError:
            return False
        return True

    _until(free)


def _until(happened: object, seconds: float = 60) -> None:
    assert callable(happened)
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_as_many_run_at_once_as_cores_and_memory_allow_and_one_where_the_clock_runs(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "cores", lambda: 4)
    monkeypatch.setattr(environment, "backend", lambda: "cpu")
    monkeypatch.setattr(environment, "physical_memory", lambda: 64 << 30)
    assert side_by_side.at_once(config, None) == 4
    assert side_by_side.at_once(config, 3) == 3
    monkeypatch.setattr(environment, "physical_memory", lambda: 3 << 30)
    assert side_by_side.at_once(config, None) == 2
    monkeypatch.setattr(environment, "physical_memory", lambda: 1 << 30)
    assert side_by_side.at_once(config, None) == 1
    # What is not here yet has no size.
    monkeypatch.setattr(environment, "physical_memory", lambda: 64 << 30)
    assert side_by_side.at_once(dataclasses.replace(config, models=("nobody/nothing",)), None) == 1
    timed = dataclasses.replace(config, latency=LatencyMeasure())
    assert side_by_side.at_once(timed, None) == 1
    assert side_by_side.at_once(timed, 1) == 1
    with pytest.raises(DataError, match="--jobs 2 cannot be: times are measured"):
        side_by_side.at_once(timed, 2)
    monkeypatch.setattr(environment, "backend", lambda: "metal")
    assert side_by_side.at_once(config, None) == 1
    with pytest.raises(DataError, match="--jobs 2 cannot be: a model on the GPU"):
        side_by_side.at_once(config, 2)
