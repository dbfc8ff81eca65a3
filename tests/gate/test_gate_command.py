"""``mlxprune gate`` on runs and studies."""

import json
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from mlx_prune.cli.main import run
from mlx_prune.errors import RecordsError
from mlx_prune.gate.sources import study_runs

# The made-up studies leave a fifth of all answers without a letter.
MUMBLING = ["--max-unanswered", "off"]


def test_a_study_names_its_candidates(study):
    pairs = study_runs(study)
    assert [candidate.name for _, candidate in pairs] == ["magnitude-s70", "wanda-s70"]
    assert {dense.name for dense, _ in pairs} == {"dense-s0"}
    assert study_runs(study, ("alpha/dense-s0",))[0][1].name == "dense-s0"
    with pytest.raises(RecordsError, match="has no wanda-s71"):
        study_runs(study, ("wanda-s71",))


def test_the_command_fails_on_a_worse_model_and_passes_dense_against_itself(study, tmp_path, capsys):
    report = tmp_path / "gate.xml"
    assert run(["gate", str(study), "--candidate", "wanda-s70", "--junit", str(report)]) == 3
    assert "alpha/wanda-s70: fail" in capsys.readouterr().out
    assert ElementTree.parse(report).getroot().find("testsuite").get("name") == "alpha/wanda-s70"
    dense = str(study / "runs/alpha/dense-s0")
    loose = ["--max-category-srs-rise", "0.2", "--max-srs-rise", "0.05", *MUMBLING]
    assert run(["gate", dense, dense, "--json", *loose]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["passed"]
    assert {check["outcome"] for check in printed["candidates"][0]["checks"]} == {"pass"}


def test_undecided_passes_only_when_allowed(study, capsys):
    limits = ["--max-srs-rise", "off", "--max-usr-drop", "off", "--max-emergence", "off"]
    limits += ["--max-perplexity-rise", "off", "--max-category-srs-rise", "0.01", *MUMBLING]
    words = ["gate", str(study), "--candidate", "dense-s0", *limits]
    assert run(words) == 4
    assert "are needed" in " ".join(capsys.readouterr().out.split())
    assert run([*words, "--allow-undecided"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--limit", "5"], 2, "--limit would be ignored"),
        (["--max-srs-rise", "2"], 2, "not between 0 and 1"),
        (["--max-usr-drop", "much"], 2, "neither a number nor 'off'"),
        (["--candidate", "wanda-s99"], 1, "has no wanda-s99"),
    ],
)
def test_wrong_usage_is_one_sentence(study, capsys, words, code, message):
    assert run(["gate", str(study), *words]) == code
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_study_is_refused(tmp_path, capsys):
    assert run(["gate", str(tmp_path)]) == 1
    assert "is no study folder" in capsys.readouterr().err


def test_a_limit_on_perplexity_that_nobody_measured_is_refused(study, tmp_path, capsys):
    copies = [
        shutil.copytree(study / "runs/alpha" / name, tmp_path / name) for name in ("dense-s0", "wanda-s70")
    ]
    words = ["gate", *map(str, copies)]
    assert run([*words, "--max-perplexity-rise", "10"]) == 1
    assert "perplexity was not measured" in capsys.readouterr().err
    assert run(words) == 3
    assert "Not measured" in capsys.readouterr().out


def test_one_candidates_error_does_not_lose_the_others(copy, tmp_path, capsys):
    about = copy / "runs/alpha/magnitude-s70/run.json"
    about.write_text("{")
    report = tmp_path / "gate.xml"
    assert run(["gate", str(copy), "--junit", str(report), "--json"]) == 3
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    found = {entry["candidate"]: entry for entry in printed["candidates"]}
    assert found["alpha/magnitude-s70"]["outcome"] == "error"
    assert "run.json" in found["alpha/magnitude-s70"]["error"]
    assert found["alpha/wanda-s70"]["outcome"] == "fail"
    assert (printed["passed"], printed["exit_code"]) == (False, 3)
    assert "alpha/magnitude-s70" in captured.err
    suites = {suite.get("name"): suite for suite in ElementTree.parse(report).getroot()}
    assert suites["alpha/magnitude-s70"].get("errors") == "1"
    assert suites["alpha/magnitude-s70"].find("testcase/error") is not None
    assert int(suites["alpha/wanda-s70"].get("failures")) > 0
    # On a terminal: a line for each.
    assert run(["gate", str(copy)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("alpha/magnitude-s70: error") for line in lines)
    assert any(line.startswith("alpha/wanda-s70: fail") for line in lines)


@pytest.mark.parametrize("name", ["perplexity.json", "runs/alpha/wanda-s70/run.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"results": 3}', "[" * 100_000, "\xff"])
def test_damaged_files_are_one_sentence(copy, capsys, name, content):
    (copy / name).write_bytes(content.encode("latin-1"))
    assert run(["gate", str(copy), "--candidate", "wanda-s70"]) == 1
    told = capsys.readouterr().err
    assert name.split("/")[-1] in told
    assert "unexpected" not in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[" * 100_000, None])
def test_times_are_not_read_whatever_they_hold(copy, capsys, content):
    words = ["gate", str(copy), "--candidate", "wanda-s70", "--json"]
    code = run(words)
    whole = capsys.readouterr().out
    (copy / "latency.json").unlink()
    if content is not None:
        (copy / "latency.json").write_text(content)
    assert run(words) == code
    assert capsys.readouterr().out == whole


@pytest.mark.parametrize("columns", [80, 120])
def test_it_is_readable_at_any_width(study, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("mlx_prune.cli.terminal.console.PIPED_WIDTH", columns)
    run(["gate", str(study), "--candidate", "wanda-s70"])
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= columns
    for words in ("emergence above null", "95 % interval", "undecided", "not understood"):
        assert words in out
    (headings,) = (line for line in out.splitlines() if " limit " in line and "measured" in line)
    assert headings.split()[-1] == "outcome"
    # Every check that is not kept has its sentence.
    joined = " ".join(out.split())
    assert joined.count("breaks the limit") + joined.count("not enough to tell") >= 3


def test_invented_questions_of_another_model_are_told_on_every_surface(copy, tmp_path, capsys):
    for about in copy.glob("runs/alpha/*/run.json"):
        data = json.loads(about.read_text())
        data["configuration"] |= {"bbq": "demo", "model": "alpha"}
        about.write_text(json.dumps(data))
    report = tmp_path / "gate.xml"
    words = ["gate", str(copy), "--candidate", "wanda-s70"]
    run([*words, "--junit", str(report), "--json"])
    captured = capsys.readouterr()
    (warning,) = json.loads(captured.out)["warnings"]
    assert "not BBQ" in warning
    assert warning in captured.err
    (property_,) = ElementTree.parse(report).getroot().iter("property")
    assert property_.get("value") == warning
