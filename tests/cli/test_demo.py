"""`mlxprune demo`: quick first, the rest in the same folder, and at once when it is finished."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
import webbrowser
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from command_line import Capture, done
from report_study import GRID, write_full_study
from rich.console import Console

from mlx_prune.cli.demo import print_result
from mlx_prune.cli.demo_result import FILE, DemoResult, other_versions, state_of
from mlx_prune.cli.main import run
from mlx_prune.cli.terminal.browser import show_page
from mlx_prune.report.figures.draw import FIGURES
from mlx_prune.report.words.finding import Finding
from mlx_prune.study.config import Grid, StudyConfig
from mlx_prune.study.measures import PerplexityMeasure
from mlx_prune.study.presets import preset

SMALL = dataclasses.replace(
    preset("demo"),
    grid=Grid(methods=("magnitude",), sparsities=(30.0, 50.0, 70.0)),
    bbq=dataclasses.replace(preset("demo").bbq, limit=10),
    perplexity=PerplexityMeasure(text="demo", sequences=1, sequence_length=32),
)
"""The demo's grid and questions, cut down."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_prune.study.presets.preset", lambda name: SMALL)
    # Drawing them all would be most of the time; the report's own tests do.
    monkeypatch.setattr("mlx_prune.report.figures.draw.FIGURES", FIGURES[:1])


def shown(arguments: list[Any], capsys: Capture) -> str:
    capsys.readouterr()
    assert run([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def not_again(*_: object, **__: object) -> None:
    raise AssertionError("a finished demo was run again")


def test_quick_says_what_it_leaves_out_plain_carries_on_and_a_finished_demo_is_shown_at_once(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    monkeypatch.setenv("COLUMNS", "80")
    quick = shown(["demo", "--quick", "-o", out, "--jobs", 1], capsys)
    assert f"--quick left out 1 pruned model (50 %); `mlxprune demo -o {out}` adds them." in quick
    first = {path: path.stat().st_mtime_ns for path in out.rglob("records/*")}
    assert {path.parent.parent.name for path in first} == {"dense-s0", "magnitude-s30", "magnitude-s70"}

    plain = shown(["demo", "-o", out, "--jobs", 1], capsys)
    assert "left out" not in plain
    assert "magnitude 50 %" in plain
    assert all(path.stat().st_mtime_ns == before for path, before in first.items())
    *_, place, page = plain.splitlines()
    assert place.endswith(f"the records are in {out}.")
    assert page == f"Page: {out / 'report.html'}"
    assert (out / "report.html").is_file()
    finding, meaning = plain.split("What this means")
    meaning = " ".join(meaning.split())
    assert "from chance." in finding
    assert "time / dense" not in plain
    assert "`mlxprune bench`" in meaning
    assert max(len(line.rstrip()) for line in plain.splitlines() if str(out) not in line) <= 80

    for step in ("study.runner.run_study", "report.write.write_report_of"):
        monkeypatch.setattr(f"mlx_prune.{step}", not_again)
    again = shown(["demo", "-o", out], capsys)
    assert again.splitlines()[:-2] == plain.splitlines()[:-2]
    assert f"Finished before; the records are in {out}." in again
    found = done(["demo", "-o", out], capsys)
    assert [row["method"] for row in found["configurations"]] == ["dense", *["magnitude"] * 3]
    assert found["report"] == str(out / "report.html")
    assert found["left_out"] == []
    assert " ".join(found["finding"]["meaning"])[:40] in meaning

    # Whatever changes in the folder, or in what is asked of it, is looked at anew.
    (out / "report.html").unlink()
    assert run(["demo", "-o", str(out)]) == 1
    assert "was run again" in capsys.readouterr().err


def test_the_folder_of_another_versions_demo_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "study.toml").write_text('name = "demo"\nmodels = ["demo"]\n[bbq]\nlimit = 200\n')
    assert run(["demo", "-o", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path} holds the demo of another version of this package" in said
    assert "bbq.limit: there 200, now 10" in said
    assert said.rstrip().endswith("name another folder with -o, or delete this one.")


def test_a_kept_result_is_of_one_state_and_a_damaged_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "records").write_text("1")
    config: StudyConfig = SMALL
    state = state_of(tmp_path, config, 0.5)
    assert state != state_of(tmp_path, config, 0.4)
    assert state != state_of(tmp_path, dataclasses.replace(config, name="other"), 0.5)
    kept = DemoResult([], Finding("Nothing.", ("One.", "Two."), meaning=("That.",)), "report.html")
    kept.write(tmp_path, state)
    assert state_of(tmp_path, config, 0.5) == state
    assert DemoResult.read(tmp_path, state) == kept
    assert DemoResult.read(tmp_path, "another") is None
    (tmp_path / "runs" / "records").write_text("12")
    assert state_of(tmp_path, config, 0.5) != state
    # In a clone, a version's own files change.
    before, package = state_of(tmp_path, config, 0.5), tmp_path.with_name("package")
    package.mkdir()
    (package / "words.py").write_text("A = 1")
    monkeypatch.setattr("mlx_prune.cli.demo_result._PACKAGE", package)
    clone = state_of(tmp_path, config, 0.5)
    assert clone != before
    (package / "words.py").write_text("A = 12")
    assert state_of(tmp_path, config, 0.5) != clone
    for damaged in ("{", "[]", json.dumps({"state": state, "rows": [{}], "finding": {}})):
        (tmp_path / FILE).write_text(damaged)
        assert DemoResult.read(tmp_path, state) is None


def test_answers_of_another_version_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_full_study(tmp_path, items=5, grid=GRID[:2])
    monkeypatch.setattr("mlx_prune.cli.demo_result.__version__", "0.1.0")
    assert other_versions(tmp_path) == ""
    monkeypatch.setattr("mlx_prune.cli.demo_result.__version__", "0.2.0")
    assert other_versions(tmp_path) == "mlx-prune 0.1.0"
    console = Console(width=100, color_system=None)
    with console.capture() as shown:
        print_result(console, DemoResult([], Finding("Nothing.", ()), "", other_versions(tmp_path)), 0.5)
    assert "Some of these answers were drawn with mlx-prune 0.1.0" in shown.get()


def test_the_readmes_picture_is_drawn_of_a_finished_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_full_study(tmp_path / "study", items=12, grid=(*GRID[:1], *GRID[7:8]))
    script = Path(__file__).parents[2] / "data" / "demo" / "draw_table.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(folder), "--out", str(tmp_path / "table.svg")])
    runpy.run_path(str(script), run_name="__main__")
    texts = "".join(ElementTree.parse(tmp_path / "table.svg").getroot().itertext())
    assert "$\u00a0mlxprune\u00a0demo" in texts
    assert "What\u00a0this\u00a0means" in texts


@pytest.mark.parametrize(("screen", "opened"), [("", False), (":0", True)])
def test_a_page_is_opened_where_there_is_a_screen(
    screen: str, opened: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not asked.append(address))
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", screen)
    assert show_page(tmp_path / "report.html") is opened
    assert asked == [(tmp_path / "report.html").resolve().as_uri()] * opened


def test_a_browser_that_fails_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: str) -> bool:
        raise webbrowser.Error(address)

    monkeypatch.setattr(webbrowser, "open", fail)
    monkeypatch.setenv("DISPLAY", ":0")
    assert not show_page(tmp_path / "report.html")
