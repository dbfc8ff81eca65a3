"""``mlxprune bench`` from the outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from latency_examples import made_up_result
from rich.console import Console
from tiny_models import save_tiny_model

from mlx_prune.cli.main import run
from mlx_prune.cli.tables.latency import BITMASK_LEGEND, latency_table, size_table, speed_table
from mlx_prune.latency.result import read_result

QUICK = ["--rounds", "1", "--items", "8", "--cooldown", "0", "--prompt", "6", "--generate", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


def test_people_get_tables_a_verdict_and_paths(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [tmp_path / "t.csv", tmp_path / "t.md"]
    words = ["bench", str(folder), str(folder), *QUICK, "-o", str(tmp_path / "out")]
    assert run([*words, "--csv", str(tables[0]), "--markdown", str(tables[1])]) == 0
    out = capsys.readouterr().out
    assert "Median milliseconds" in out
    assert "total time x" in out
    paths = [Path(line) for line in out.splitlines()[-5:]]
    assert paths == [*(tmp_path / "out" / f"latency.{end}" for end in ("json", "png", "svg")), *tables]
    assert all(path.stat().st_size > 100 for path in paths)
    assert len(read_result(paths[0]).samples) == 16


def test_programs_get_one_json_object(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["bench", str(folder), str(folder), *QUICK, "--json", "--no-sizes"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["kind"] == "latency"
    assert payload["rows"][1]["comparisons"]["total"]["verdict"]["word"]
    assert [Path(file).suffix for file in payload["files"]] == [".json", ".png", ".svg"]
    assert [path.name[:6] for path in tmp_path.iterdir()] == ["bench-"]


def test_real_questions_are_the_default(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(folder), str(folder), "--rounds", "1", "--items", "2", "--no-sizes", "--json"]
    assert run([*words, "-o", str(tmp_path)]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["settings"]["bbq"] == "demo"
    assert payload["workloads"][0]["name"] == "bbq"
    assert payload["workloads"][0]["new_tokens"] == 5
    assert payload["rows"][1]["comparisons"]["total"]["verdict"]["more_items"] == 6


@pytest.mark.parametrize(
    "words",
    [
        ["one"],
        ["a", "b", "--prompt", "8", "--bbq", "demo"],
        ["a", "b", "--prompt", "8,8"],
        ["a", "b", "--prompt", "x"],
        ["a", "b", "--margin", "0"],
        ["a", "b", "--rounds", "0"],
        ["a", "b", "--force"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", *words]) == 2
    assert capsys.readouterr().out == ""


def test_a_folder_with_results_is_left_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latency.json").write_text("{}")
    assert run(["bench", str(folder), str(folder), *QUICK, "-o", str(tmp_path)]) == 1
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "latency.json").read_text() == "{}"


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("workloads", [1, 2])
def test_tables_fit_the_terminal_and_cut_no_figure(width: int, workloads: int) -> None:
    names = ("mistral-7b-instruct-v0.3", "mistral-7b-instruct-v0.3-magnitude-s50-pia")
    result = made_up_result((1.0, 1.2), names=names, workloads=workloads, bitmask=(1_000_000, 562_500))
    console = Console(width=width, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for table in (latency_table(result), speed_table(result), size_table(result)):
        console.print(table)
    console.print(BITMASK_LEGEND)
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    assert text.count("1.20") >= workloads
    for heading in ("First token", "/ token", "Total", "p95", "Ratio (interval)", "Decode", "Load s"):
        assert heading in text
    for heading in ("Weights", "Peak", "safetensors", "zstd", "bitmask", "GGUF"):
        assert heading in text
    assert "562.5 kB x0.56" in text


def test_a_ctrl_c_prints_what_was_measured_and_exits_with_130(folder: Path, tmp_path: Path) -> None:
    words = ["bench", str(folder), str(folder), "--items", "8", "--rounds", "500", "--cooldown", "0.05"]
    # Whoever runs the tests in the background of a shell has interrupts ignored, and children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heed}; import sys; from mlx_prune.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", script, *words, "--prompt", "6", "--generate", "2", "-o", str(tmp_path)]
    process = subprocess.Popen([*command, "--no-sizes", "--json"], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "latency.json").exists():
        assert process.poll() is None, "ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    payload = json.loads(out)
    assert payload["interrupted"] is True
    assert payload["rows"][0]["measurements"] >= 8
    assert any("interrupted" in warning for warning in payload["warnings"])
    assert read_result(tmp_path / "latency.json").to_json()["rows"] == payload["rows"]
