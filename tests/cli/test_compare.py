"""``mlxprune compare``: models asked now, and runs that were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from random_study import random_records, write_study

from mlx_prune.cli.main import run
from mlx_prune.report.data import read_study

ASKED = ["--limit", "20", "--seeds", "1,2", "--no-perplexity"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with zeros by Wanda, and in four bits."""
    folder = tmp_path_factory.mktemp("models")
    few = ["--samples", "2", "--sequence-length", "64"]
    assert run(["prune", "demo", "-m", "wanda", "-s", "50", *few, "-o", str(folder / "wanda-s50")]) == 0
    assert run(["prune", "demo", "-m", "quantize", "--bits", "4", "-o", str(folder / "q4")]) == 0
    return folder


def test_models_become_a_study_with_a_report_that_carries_on(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "demo", str(models / "wanda-s50"), "-o", str(tmp_path / "out"), *ASKED]
    assert run(words) == 0
    capsys.readouterr()
    parts = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.parquet")}
    # A folder that is called like a method label is renamed, one with a name keeps it.
    more = [f"four bits={models / 'q4'}", str(models / "q4")]
    assert run([*words[:3], *more, *words[3:], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in printed["configurations"]] == [
        *("dense", "four bits", "q4-model", "wanda-s50")
    ]
    assert printed["configurations"][3]["actual_sparsity"] == pytest.approx(50, abs=0.1)
    assert printed["warnings"] == []
    assert "4 changed" not in printed["finding"]["headline"]
    assert (tmp_path / "out" / "report.html").is_file()
    assert all(file.stat().st_mtime_ns == when for file, when in parts.items())

    other = [*words[:-3], "--seeds", "1,3", "--no-perplexity"]
    assert run(other) == 1
    assert "generation.seeds" in capsys.readouterr().err


def test_eval_runs_are_compared_without_being_asked_again(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--limit", "20", "--seeds", "1,2"]
    for model, folder in (("demo", "dense"), (models / "wanda-s50", "wanda"), (models / "q4", "four")):
        assert run(["eval", str(model), "-o", str(tmp_path / folder), *asked]) == 0
    capsys.readouterr()
    runs = [str(tmp_path / "dense"), str(tmp_path / "wanda"), f"mine={tmp_path / 'four'}"]
    for _ in range(2):  # made anew by the same command
        assert run(["compare", *runs, "-o", str(tmp_path / "out"), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        named = [(row["method"], row["target_sparsity"]) for row in printed["configurations"]]
        assert named == [("dense", 0), ("wanda", 50), ("mine", 0)]
    # What the checkpoint tells of itself is found where it lies.
    assert printed["configurations"][1]["actual_sparsity"] == pytest.approx(50, abs=0.1)
    before = read_study(tmp_path / "out")
    assert before.runs[2].configuration.name == "mine"
    assert run(["compare", *runs, "-o", str(tmp_path / "out"), "--limit", "3"]) == 2
    assert "--limit would be ignored" in capsys.readouterr().err
    assert run(["eval", "demo", "-o", str(tmp_path / "fewer"), "--limit", "10", "--seeds", "1,2"]) == 0
    capsys.readouterr()
    assert run(["compare", runs[0], str(tmp_path / "fewer"), "-o", str(tmp_path / "other")]) == 1
    assert "limit (20 there, 10 here)" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert run(["report", runs[0]]) == 1
    assert "mlxprune compare" in capsys.readouterr().err


def test_runs_of_other_tools_and_folders_in_use_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "study", random_records())
    dense = str(study / "runs/alpha/dense-s0")
    assert run(["compare", dense, "demo", "-o", str(tmp_path / "out")]) == 1
    assert "holds no config.json" in capsys.readouterr().err
    assert run(["compare", "demo", "-o", str(tmp_path / "out")]) == 2
    assert "at least one candidate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo", "wanda=demo"], "'wanda' is a method label"),
        (["demo", "a=demo", "A=demo"], "two candidates are called 'a'"),
        (["demo", "nowhere"], "There is no model folder nowhere"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["compare", *words, "-o", str(tmp_path / "out"), *ASKED]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
