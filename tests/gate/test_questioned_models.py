"""``mlxprune gate`` on models that are questioned now."""

import json
import shutil
from pathlib import Path

import pytest

from mlx_prune import demo
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
    assert run(words) == 3
    (candidate,) = json.loads(capsys.readouterr().out)["candidates"]
    assert candidate["outcome"] == "fail"
    drop = next(check for check in candidate["checks"] if check["measure"] == "usr_drop")
    # Sixty questions show that it abstains less, not yet that it is by more than the limit.
    assert drop["low"] > 0
    # Those runs are what a later gate reads without any model.
    runs = [str(tmp_path / name) for name in ("dense", "candidate-1")]
    assert all((Path(folder) / "run.json").is_file() for folder in runs)
    assert run(["gate", *runs, "--json"]) == 3
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


def test_a_gate_grows_with_its_limit_and_a_killed_one_is_finished(pruned, tmp_path, capsys):
    words = [
        "gate",
        "demo",
        str(pruned),
        "--bbq",
        "demo",
        "--seeds",
        "42",
        *ANSWERS_ONLY,
        "-o",
        str(tmp_path),
    ]
    assert run([*words, "--limit", "20"]) == 3
    assert run([*words, "--limit", "60"]) == 3
    about = tmp_path / "candidate-1" / "run.json"
    data = json.loads(about.read_text())
    assert data["totals"] == {"items": 60, "records": 60}
    assert [session["new_records"] for session in data["sessions"]] == [20, 40]
    # Killed after the last record, before the run says that it is complete.
    about.write_text(json.dumps({**data, "status": "running"}))
    capsys.readouterr()
    assert run([*words, "--limit", "60"]) == 3
    assert json.loads(about.read_text())["status"] == "complete"


def test_perplexity_of_a_gate_is_paired_and_kept(pruned, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(demo.heldout_text_path().read_text(encoding="utf-8")[:8_000], encoding="utf-8")
    words = ["gate", "demo", str(pruned), *FEW, "--text", str(text), "-o", str(tmp_path), "--json"]
    assert run(words) == 3
    first = json.loads(capsys.readouterr().out)["candidates"][0]["checks"]
    assert run(["gate", str(tmp_path / "dense"), str(tmp_path / "candidate-1"), "--json"]) == 3
    again = json.loads(capsys.readouterr().out)["candidates"][0]["checks"]
    rises = [[c for c in checks if c["measure"] == "perplexity_rise"] for checks in (first, again)]
    assert rises[0] == rises[1]
    assert "paired over" in rises[0][0]["message"]


def test_distance_from_the_dense_model_is_held_and_kept(pruned, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(demo.heldout_text_path().read_text(encoding="utf-8")[:8_000], encoding="utf-8")
    limits = ["--max-kl", "0.05", "--max-other-top", "10"]
    words = ["gate", "demo", str(pruned), *FEW, *ANSWERS_ONLY, *limits, "--text", str(text)]
    assert run([*words, "-o", str(tmp_path), "--json"]) == 3
    first = json.loads(capsys.readouterr().out)["candidates"][0]["checks"]
    runs = [str(tmp_path / "dense"), str(tmp_path / "candidate-1")]
    assert run(["gate", *runs, *limits, "--json"]) == 3
    again = json.loads(capsys.readouterr().out)["candidates"][0]["checks"]
    for name, least in (("kl", 0.1), ("other_top", 0.15)):
        (check,), (kept,) = ([c for c in checks if c["measure"] == name] for checks in (first, again))
        assert check == kept
        assert check["value"] > least
        assert (check["low"] is None) or check["low"] <= check["value"] <= check["high"]
    # Runs without it cannot be held to a limit that was asked for.
    (tmp_path / "candidate-1" / "divergence.json").unlink()
    assert run(["gate", *runs, *limits]) == 1
    assert "KL divergence was not measured for these runs" in capsys.readouterr().err


def test_a_damaged_record_of_pruning_is_one_sentence_and_the_others_are_judged(pruned, tmp_path, capsys):
    broken = shutil.copytree(pruned, tmp_path / "broken")
    (broken / "pruning_meta.json").write_text("[")
    assert run(["gate", "demo", str(broken), "demo", *FEW, *ANSWERS_ONLY]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "pruning_meta.json" in captured.err
    assert "demo: pass" in captured.out
