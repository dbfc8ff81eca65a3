"""``mlxprune divergence`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Capture, done
from tiny_models import save_tiny_model

from mlx_prune.cli.main import run
from mlx_prune.runs.divergence import DenseReference
from mlx_prune.runs.settings import DEFAULT_TOP

SIZES = ["--sequences", 7, "--sequence-length", 16]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    text = base / "text.txt"
    text.write_text("The teacher and the student were at the market. Who was late? " * 20)
    found = {name: save_tiny_model(base / name, seed=seed) for name, seed in (("dense", 0), ("other", 1))}
    return found | {"text": text}


def test_a_model_and_itself(folders: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    dense, other, text = folders.values()
    arguments = ["divergence", dense, other, dense, "--text", text, *SIZES]
    found = done(arguments, capsys)
    assert (found["dense"], found["text"], found["top"]) == (str(dense), str(text), 128)
    assert 0 < found["rest"] < 1
    far, near = found["models"]
    assert (far["model"], near["model"]) == (str(other), str(dense))
    assert near["divergence"]["kl_max"] < 1e-6
    assert near["divergence"]["same_top"] == 1
    assert far["divergence"]["kl_low"] > 0.1
    assert far["divergence"]["tokens"] == 7 * 15
    assert near["perplexity"] == pytest.approx(found["dense_perplexity"])
    assert run([str(a) for a in arguments]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "KL(dense || model)" in printed
    assert "one bucket with" in printed
    assert run([str(a) for a in [*arguments, "--top", 5000]]) == 0
    assert "whole distributions are kept" in " ".join(capsys.readouterr().out.split())


def test_the_help_tells_the_default(capsys: Capture) -> None:
    assert run(["divergence", "--help"]) == 0
    assert f"[default: {DEFAULT_TOP}]" in " ".join(capsys.readouterr().out.split())


def test_a_file_of_figures_carries_on(
    folders: dict[str, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, other, text = folders.values()
    file = tmp_path / "distance.json"
    arguments = ["divergence", dense, other, "--text", text, *SIZES, "-o", file]
    first = done(arguments, capsys)
    assert json.loads(file.read_text()) == {k: v for k, v in first.items() if k != "warnings"}

    measured = []
    own = DenseReference.compare

    def watched(self: DenseReference, model: Any, *rest: Any) -> Any:
        measured.append(Path(model.name).name)
        return own(self, model, *rest)

    monkeypatch.setattr(DenseReference, "compare", watched)
    both = done(["divergence", dense, other, dense, "--text", text, *SIZES, "-o", file], capsys)
    assert measured == ["dense"]
    assert both["models"][0] == first["models"][0]
    done([*arguments, "--force"], capsys)
    assert measured == ["dense", "other"]

    assert refused([*arguments, "--top", "9"], capsys).count("measured otherwise") == 1
    file.write_text(file.read_text()[:-30])
    assert "not valid JSON" in refused(arguments, capsys)
    content = json.loads(json.dumps(first))
    content["models"][0]["divergence"].pop("kl")
    file.write_text(json.dumps(content))
    assert "kl is absent" in refused(arguments, capsys)


def refused(arguments: list[Any], capsys: Capture) -> str:
    assert run([str(a) for a in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_what_cannot_be_compared_is_one_sentence(
    folders: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    dense, other, text = folders.values()
    assert "must be named: give --text" in refused(["divergence", dense, other], capsys)
    renamed = save_tiny_model(tmp_path / "renamed")
    file = renamed / "tokenizer.json"
    file.write_text(file.read_text().replace("<|user|>", "<|human|>"))
    sentence = refused(["divergence", dense, renamed, "--text", text, *SIZES], capsys)
    assert "hold different tokens" in sentence
    assert "no model folder" in refused(["divergence", dense, tmp_path / "no", "--text", text], capsys)
    assert run(["divergence", str(dense)]) == 2
    assert run(["divergence", str(dense), str(other), "--force"]) == 2
