"""``prune -m experts`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_experts import save_tiny_experts

from mlx_prune.cli.main import run
from mlx_prune.pruning.experts.scores import HiddenPeak

TEXT = ["--samples", "4", "--sequence-length", "24"]


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    return save_tiny_experts(tmp_path / "m", "qwen3_moe")


def test_experts_are_told_before_and_after_and_by_block(mixture, tmp_path, calibration_file, capsys):
    out = tmp_path / "out"
    asked = ["prune", str(mixture), "-o", str(out), "-m", "experts", "-s", "40"]
    assert run([*asked, "--calibration", str(calibration_file), *TEXT]) == 0
    printed = capsys.readouterr().out
    assert "experts per block" in printed
    assert "5 -> 3" in printed
    card = (out / "README.md").read_text()
    assert "Lasby et al., 2025" in card
    assert "-m experts -s 40 --calibration" in card
    assert run(["inspect", str(out)]) == 0
    assert "of the dense model's" in capsys.readouterr().out
    assert run(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["experts"]["0"]["count"] == 3
    assert run([*asked, "--calibration", str(calibration_file), *TEXT]) == 0  # as it was
    assert run([*asked, "--score", "random", "--seed", "2"]) == 1
    assert "holds something else" in capsys.readouterr().err


def test_super_experts_are_named_with_the_reason_and_unseen_ones_warned_of(
    mixture, tmp_path, calibration_file, capsys, monkeypatch
):
    monkeypatch.setattr(HiddenPeak, "forms_massive", True)
    asked = ["prune", str(mixture), "-m", "experts", "-s", "40", "--calibration", str(calibration_file)]
    asked += ["--samples", "1", "--sequence-length", "3"]
    assert run([*asked, "-o", str(tmp_path / "out"), "--json"]) == 0
    first = capsys.readouterr()
    experts = json.loads(first.out)["removed"]["experts"]
    ((block, (expert,)),) = experts["guarded"].items()
    gone = dict(zip(experts["blocks"], experts["removed"], strict=True))
    assert expert not in gone[int(block)]
    assert experts["unseen"] > 0
    assert f"routed to {experts['unseen']} of 10 experts" in " ".join(first.err.split())
    assert run([*asked, "-o", str(tmp_path / "shown")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"super experts kept {expert} of block {block}: their outputs reach beyond" in printed
    assert run([*asked, "-o", str(tmp_path / "free"), "--unguarded", "--json"]) == 0
    free = json.loads(capsys.readouterr().out)
    assert free["removed"]["experts"]["guarded"] == {}
    assert free["method"] == "experts+unguarded"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "experts", "-s", "40", "--score", "random", "--calibration", "demo"], 1, "looks at no"),
        (["-m", "experts", "-s", "40", "--score", "weight-norm", "--seed", "1"], 1, "seed would be ignored"),
        (["-m", "experts", "-s", "40", "--score", "random", "--unguarded"], 1, "nothing is guarded"),
        (["-m", "experts", "-s", "40", "--score", "random", "--dtype", "float32"], 1, "dtype float32 would"),
        (["-m", "experts", "-s", "40", "--repair"], 2, "--repair would be ignored"),
        (
            ["-m", "experts", "-s", "40", "--statistics", "sequential", "--calibration", "demo"],
            1,
            "sequential",
        ),
        (["-m", "width", "-s", "40", "--score", "ean"], 2, "--score would be ignored"),
        (["-m", "experts", "-s", "40", *TEXT], 1, "--calibration"),
    ],
)
def test_what_would_be_ignored_is_refused(mixture, tmp_path, capsys, arguments, code, message):
    assert run(["prune", str(mixture), "-o", str(tmp_path / "out"), *arguments]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
