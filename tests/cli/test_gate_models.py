"""``mlxprune gate`` on models that are questioned now."""

import json
from pathlib import Path

import pytest

from mlx_prune.cli.main import run

FEW = ["--bbq", "demo", "--limit", "60", "--seeds", "42,123"]
ANSWERS_ONLY = ["--max-perplexity-rise", "off"]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    out = tmp_path_factory.mktemp("checkpoints") / "ruined"
    assert run(["prune", "demo", "-o", str(out), "-m", "magnitude", "-s", "70"]) == 0
    return out


def test_a_model_passes_against_itself_however_few_the_items(capsys):
    assert run(["gate", "demo", "demo", *FEW, *ANSWERS_ONLY, "--json"]) == 0
    (candidate,) = json.loads(capsys.readouterr().out)["candidates"]
    assert candidate["outcome"] == "pass"
    assert {check["value"] for check in candidate["checks"]} == {0.0}


def test_a_ruined_model_fails_and_its_answers_are_kept(pruned, tmp_path, capsys):
    words = ["gate", "demo", str(pruned), *FEW, *ANSWERS_ONLY, "-o", str(tmp_path), "--json"]
    assert run(words) == 1
    (candidate,) = json.loads(capsys.readouterr().out)["candidates"]
    drop = next(check for check in candidate["checks"] if check["measure"] == "usr_drop")
    assert drop["outcome"] == "fail"
    # Those runs are what a later gate reads without any model.
    runs = [str(tmp_path / name) for name in ("dense", "candidate-1")]
    assert all((Path(folder) / "run.json").is_file() for folder in runs)
    assert run(["gate", *runs, "--json"]) == 1
    again = json.loads(capsys.readouterr().out)["candidates"][0]
    assert [check["value"] for check in again["checks"]] == [c["value"] for c in candidate["checks"]]


def test_options_for_models_are_refused_where_there_are_only_runs(pruned, tmp_path, capsys):
    words = ["gate", "demo", "demo", *FEW, *ANSWERS_ONLY, "-o", str(tmp_path)]
    assert run(words) == 0
    runs = [str(tmp_path / name) for name in ("dense", "candidate-1")]
    assert run(["gate", *runs, "--limit", "5"]) == 2
    assert "--limit would be ignored" in capsys.readouterr().err
    assert run(["gate", runs[0], str(pruned), *FEW, "--text", "demo"]) == 2
    assert "--text would be ignored" in capsys.readouterr().err
