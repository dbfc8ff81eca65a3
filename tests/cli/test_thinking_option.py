"""``--thinking`` on the commands that ask questions, and in a study's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run
from tiny_models import CHAT_TEMPLATE, save_tiny_model

from mlx_prune.errors import DataError
from mlx_prune.study.config import config_from_dict

FEW = ("--bbq", "demo", "--limit", "5", "--seeds", "42")


@pytest.fixture(scope="module")
def reasoning(tmp_path_factory: pytest.TempPathFactory) -> str:
    template = CHAT_TEMPLATE.replace("<|assistant|>\n", "<|assistant|>\n<think>\n")
    folder = tmp_path_factory.mktemp("m") / "reasoning"
    return str(save_tiny_model(folder, num_hidden_layers=1, chat_template=template))


def test_eval_says_what_to_do_and_does_it(
    reasoning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", reasoning, *FEW, "-o", str(tmp_path / "run")]
    assert run(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "--thinking skip" in said.err
    assert "Traceback" not in said.err
    assert run([*words, "--thinking", "skip", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["prompt"]["thinking"] == "skip"
    assert told["letters"]["median_mass"] < 0.1
    assert run([*words, "--thinking", "skip"]) == 0
    said = capsys.readouterr()
    assert "The letters A, B and C hold only" in " ".join((said.out + said.err).split())


def test_gate_takes_it_for_models_and_bench_times_such_a_model(
    reasoning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["gate", reasoning, reasoning, *FEW, "--max-perplexity-rise", "off"]
    assert run(words) == 1
    assert "--thinking skip" in capsys.readouterr().err
    assert run([*words, "--thinking", "skip", "--allow-undecided"]) in (0, 3)
    times = ["--bbq", "demo", "--items", "1", "--rounds", "1", "--cooldown", "0", "--no-sizes"]
    assert run(["bench", reasoning, reasoning, *times, "-o", str(tmp_path / "bench")]) == 0


def test_a_study_says_it_in_its_file() -> None:
    said = {"models": ["demo"], "generation": {"thinking": "skip"}}
    assert config_from_dict(said).generation.thinking == "skip"
    assert config_from_dict({"models": ["demo"]}).generation.thinking == "off"
    with pytest.raises(DataError, match="'off' or 'skip'"):
        config_from_dict({"models": ["demo"], "generation": {"thinking": "on"}})
