"""What `report` and `study` print of a finished study, and of one that is not, in a terminal of any width."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Capture, done
from mixed_study import write_mixed_study
from random_study import random_records, write_study
from rich.console import Console
from silent_study import write_silent_study

from mlx_prune.cli.main import run
from mlx_prune.cli.tables.frontier import frontier_table
from mlx_prune.cli.tables.rates import ambiguous_table, strict_line
from mlx_prune.cli.tables.study import legend, study_rows, study_table
from mlx_prune.report.data import read_study
from mlx_prune.report.tables.build import build_tables
from mlx_prune.runs.records import read_records
from mlx_prune.stats.rates import from_table
from mlx_prune.study.plan import ModelPlan, StudyPlan

WIDTHS = [80, 120]


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_silent_study(tmp_path_factory.mktemp("silent")))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = ("SmolLM2-135M-Instruct", "gemma-2-2b-it")
    return Path(write_mixed_study(tmp_path_factory.mktemp("mixed"), models=models, items=45))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_studys_table_shows_every_method_and_figure(width: int, mixed: Path) -> None:
    rows = study_rows(read_study(mixed, min_answered=0.5))
    console = Console(width=width, color_system=None)
    with console.capture() as shown:
        console.print(study_table(rows))
        console.print(legend(rows, 0.5), markup=False)
    text = shown.get()
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    headings = ["model", "method", "ppl", "answered", "SRS", "USR", "anti", "SRS-anti", "acc", "verdict"]
    assert set(headings) <= set(text.split())
    for row in rows:
        assert row.method in text
        for rate in (row.srs, row.usr, row.anti_rate):
            assert f"{rate:.3f}" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_with_a_calibration_text_are_shown_whole(width: int, tmp_path: Path) -> None:
    methods = ("wanda", "wanda@chat", "wanda+owl@everyday", "wanda@chat+recover+q4", "wanda@chat+q4+recover")
    grid = (("dense", 0.0, None), *((method, 50.0, None) for method in methods))
    write_study(tmp_path, random_records(models=("alpha",), items=30, grid=grid))
    data = read_study(tmp_path)
    for table in (study_table(study_rows(data)), frontier_table(build_tables(data).frontier.rows)):
        console = Console(width=width, color_system=None)
        with console.capture() as shown:
            console.print(table)
        lines = shown.get().splitlines()
        assert max(len(line.rstrip()) for line in lines) <= width
        assert all(any(line.split()[:1] == [method] for line in lines) for method in methods)


@pytest.mark.parametrize("width", WIDTHS)
def test_report_names_what_is_unfinished_in_its_first_line(
    width: int, silent: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["report", str(silent)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Unfinished: 3 of 8 configurations are left out")
    assert "…" not in text
    # A path is one line however long it is, so that it can be copied.
    lines = [line.rstrip() for line in text.splitlines() if str(silent) not in line]
    assert max(map(len, lines)) <= width
    assert "wanda 70 %" not in text.split("Gain and price")[1]


def test_report_takes_a_floor_in_percent(silent: Path, capsys: Capture) -> None:
    assert run(["report", str(silent), "--min-answered", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "no longer answer" not in found["finding"]["sentences"][1]
    assert found["finding"]["unfinished"].startswith("Unfinished: 3 of 8")
    assert run(["report", str(silent), "--min-answered", "101"]) == 2


def test_rates_of_gibberish_stand_in_brackets_struck_out(silent: Path) -> None:
    rows = study_rows(read_study(silent, min_answered=0.5))
    console = Console(width=100, color_system="standard", force_terminal=True)
    with console.capture() as shown:
        console.print(study_table(rows))
    (row,) = (row for row in rows if row.too_few_answered)
    assert row.method == "random"
    assert f"\x1b[2;9m({row.srs:.3f})" in shown.get()
    assert "less than 50 % answered" in legend(rows, 0.5)
    assert "less than" not in legend([row for row in rows if not row.too_few_answered], 0.5)


def test_eval_shows_the_share_understood_and_the_strict_rates(silent: Path) -> None:
    rates = from_table(read_records(silent / "runs" / "alpha" / "wanda-s50"))
    console = Console(width=100, color_system=None)
    with console.capture() as shown:
        console.print(ambiguous_table(rates, 0.5))
        console.print(ambiguous_table(rates, 0.9))
    first, second = shown.get().split("Ambiguous contexts")[1:]
    overall = rates.overall
    assert f"{100 * overall.answered:.1f} %" in first
    assert f" {overall.srs:.3f} " in first
    assert f"({overall.srs:.3f})" in second
    assert f"SRS {overall.strict_srs:.3f}" in strict_line(rates)
    dense = from_table(read_records(silent / "runs" / "alpha" / "dense-s0"))
    assert strict_line(dense) == ""


@pytest.mark.parametrize("width", WIDTHS)
def test_a_dry_run_shows_every_model_and_figure(
    width: int, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("mistralai/Mistral-7B-Instruct-v0.3", "microsoft/Phi-3.5-mini-instruct-with-a-long-name")
    models = tuple(ModelPlan(name, 13, 11, 789_620, 9e5, 28 * 2**30, 110 * 2**30) for name in names)
    plan = StudyPlan(models, 1_579_240, 1.8e6, 40)
    monkeypatch.setattr("mlx_prune.study.plan.plan_study", lambda *_, **__: plan)
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["study", "--preset", "aiiot2026", "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= width
    words = ["model", "runs", "left", "records", "time", "memory", "disk", *names, "789,620", "250.0", "13"]
    assert set(words) <= set(out.split())
    payload = done(["study", "--preset", "aiiot2026", "-o", tmp_path / "out", "--dry-run"], capsys)
    assert (payload["records"], payload["sampled"]) == (1_579_240, 40)
    assert [model["model"] for model in payload["models"]] == list(names)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_refuses_the_floor_that_it_would_ignore(tmp_path: Path, capsys: Capture) -> None:
    words = ["study", "--preset", "demo", "-o", str(tmp_path / "out"), "--dry-run"]
    assert run([*words, "--min-answered", "40"]) == 2
    assert "--min-answered would be ignored: a dry run shows no rates" in capsys.readouterr().err
