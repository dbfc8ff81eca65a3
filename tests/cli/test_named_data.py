"""One rule for all commands: the embedded model takes the embedded data, any other model's are named."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import tomli_w
from command_line import Capture, done
from tiny_models import save_tiny_model

import mlx_prune
from mlx_prune.checkpoint.invented import is_demo
from mlx_prune.cli.main import run
from mlx_prune.errors import DataError
from mlx_prune.study.config import Grid, StudyConfig, config_from_dict, config_to_dict
from mlx_prune.study.data import data_warnings, with_named_data

FEW = ["--limit", "5", "--seeds", "1"]
SHORT = ["--samples", "2", "--sequence-length", "32"]
WANDA = ["-m", "wanda", "-s", "50", *SHORT]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is not the embedded one."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "real", "llama")


@pytest.fixture(scope="module")
def from_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint pruned from the embedded model."""
    out = tmp_path_factory.mktemp("pruned") / "half"
    assert run(["prune", "demo", "-o", str(out), "-m", "magnitude", "-s", "50"]) == 0
    return out


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["eval", "MODEL", "-o", "OUT", *FEW], "--bbq"),
        (["perplexity", "MODEL"], "--text"),
        (["gate", "MODEL", "MODEL", *FEW], "--bbq"),
        (["gate", "demo", "MODEL", "--bbq", "demo", *FEW], "--text"),
        (["prune", "MODEL", "-o", "OUT", *WANDA], "--calibration"),
        (["prune", "MODEL", "-o", "OUT", *WANDA, "--bits", "4"], "--calibration"),
        (["prune", "MODEL", "-o", "OUT", "-m", "depth", "-s", "50"], "--calibration"),
        (["study", "TOML", "-o", "OUT"], "source in [bbq]"),
        (["study", "TOML", "-o", "OUT", "--dry-run"], "source in [bbq]"),
    ],
)
def test_data_of_another_model_must_be_named(
    words: list[str], option: str, real: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "study.toml").write_text(f"models = ['{real}']\n")
    out = tmp_path / "out"
    names = {"MODEL": str(real), "OUT": str(out), "TOML": str(tmp_path / "study.toml")}
    assert run([names.get(word, word) for word in words]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"give {option}" in told
    assert not out.exists()


def test_a_model_on_the_hub_is_refused_before_it_is_downloaded(tmp_path: Path, capsys: Capture) -> None:
    for words in (
        ["eval", "nobody/no-such-model", "-o", str(tmp_path / "run")],
        ["perplexity", "nobody/no-such-model"],
        ["prune", "nobody/no-such-model", "-o", str(tmp_path / "out"), *WANDA],
    ):
        assert run(words) == 1
        assert "must be named" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["demo", "FROM_DEMO"])
def test_the_embedded_model_and_its_copies_take_their_own_data_without_a_word(
    model: str, from_demo: Path, tmp_path: Path, capsys: Capture
) -> None:
    model = model.replace("FROM_DEMO", str(from_demo))
    assert done(["eval", model, "-o", tmp_path / "run", *FEW], capsys)["warnings"] == []
    short = ["--sequences", 1, "--sequence-length", 32]
    assert done(["perplexity", model, *short], capsys)["warnings"] == []


def test_what_counts_as_the_embedded_model(from_demo: Path, real: Path, tmp_path: Path) -> None:
    assert is_demo("demo")
    assert is_demo(from_demo)
    assert is_demo(mlx_prune.load("demo"))
    assert not is_demo(real)
    assert not is_demo("google/demo")
    namesake = shutil.copytree(real, tmp_path / "demo")
    assert not is_demo(namesake)
    (namesake / "pruning_meta.json").write_text("[damaged")
    assert not is_demo(namesake)


def test_invented_data_named_for_another_model_are_told_everywhere(
    real: Path, tmp_path: Path, capsys: Capture
) -> None:
    pruned = tmp_path / "pruned"
    (calibrated,) = done(["prune", real, "-o", pruned, *WANDA, "--calibration", "demo"], capsys)["warnings"]
    assert "invented" in calibrated
    assert calibrated in json.loads((pruned / "pruning_meta.json").read_text())["warnings"]
    assert calibrated in (pruned / "README.md").read_text()

    asked = ["eval", real, "-o", tmp_path / "run", "--bbq", "demo", *FEW]
    (warning,) = done(asked, capsys)["warnings"]
    assert "not BBQ" in warning
    assert json.loads((tmp_path / "run" / "run.json").read_text())["warnings"] == [warning]
    assert run([str(word) for word in asked]) == 0
    assert warning in capsys.readouterr().err

    short = ["--text", "demo", "--sequences", 1, "--sequence-length", 32]
    (told,) = done(["perplexity", real, *short], capsys)["warnings"]
    assert run(["perplexity", str(real), *(str(word) for word in short)]) == 0
    assert told in capsys.readouterr().err


def test_a_study_refuses_only_what_it_needs_and_tells_what_is_invented(real: Path) -> None:
    plain = {"models": [str(real)], "grid": {"methods": ["magnitude"], "sparsities": [50]}}
    asked = {**plain, "bbq": {"source": "hub"}, "perplexity": {"enabled": False}}
    # Nothing is calibrated and perplexity is left out, so neither text is asked for.
    assert with_named_data(config_from_dict(asked)).bbq.source == "hub"
    assert data_warnings(config_from_dict(asked)) == ()
    with pytest.raises(DataError, match=r"source in \[calibration\]"):
        with_named_data(config_from_dict({**asked, "grid": {"methods": ["wanda"], "sparsities": [50]}}))
    with pytest.raises(DataError, match=r"text in \[perplexity\]"):
        with_named_data(config_from_dict({**plain, "bbq": {"source": "hub"}}))
    invented = {**plain, "bbq": {"source": "demo"}, "perplexity": {"text": "demo"}}
    assert len(data_warnings(config_from_dict(invented))) == 2
    demo = with_named_data(config_from_dict({"models": ["demo"]}))
    assert (demo.bbq.source, demo.perplexity.text, demo.calibration.source) == ("demo",) * 3
    assert data_warnings(demo) == ()


def test_a_path_given_in_python_can_be_written_to_the_study_file_needed_or_not() -> None:
    given = mlx_prune.Calibration(Path("text.txt"))
    for method in ("magnitude", "wanda"):
        config = StudyConfig(models=("demo",), grid=Grid(methods=(method,)), calibration=given)
        written = tomli_w.dumps(config_to_dict(with_named_data(config)))
        assert config_from_dict(tomllib.loads(written)).calibration.source == "text.txt"


def test_python_follows_the_same_rule(real: Path) -> None:
    model = mlx_prune.load(real)
    recipe = mlx_prune.Recipe("wanda", 0.5, calibration=mlx_prune.Calibration(samples=2, sequence_length=16))
    for call in (
        lambda: mlx_prune.evaluate(model),
        lambda: mlx_prune.perplexity(model),
        lambda: mlx_prune.calibrate(model),
        lambda: mlx_prune.prune(model, recipe),
    ):
        with pytest.raises(DataError, match="must be named"):
            call()


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "nowhere", "-o", "OUT"],
        ["perplexity", "./nowhere"],
        ["gate", "demo", "nowhere"],
        ["divergence", "nowhere", "demo"],
        ["prune", "nowhere", "-o", "OUT", *WANDA],
    ],
)
def test_a_model_that_is_not_there_is_told_before_its_data_must_be_named(
    words: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words) == 1
    name = "./nowhere" if "./nowhere" in words else "nowhere"
    sentence = f"Error: There is no model folder {name}; give a folder, a Hub id (org/name) or demo.\n"
    assert capsys.readouterr().err == sentence
