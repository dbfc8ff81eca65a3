"""A method of one's own is one class: registered, every command knows it as it knows the built-in ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from command_line import Capture, done
from tiny_models import save_tiny_model

from mlx_prune import registry
from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.open import load
from mlx_prune.cli.main import run
from mlx_prune.errors import DataError, RecipeError
from mlx_prune.pruning.fields import SQUARE_SUMS
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.method import Mask, Structure
from mlx_prune.pruning.methods.depth import cosine_sum
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structure import shallower
from mlx_prune.registry import Look, option
from mlx_prune.report.figures.style import MethodStyle, method_style
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.measures import LatencyMeasure
from mlx_prune.study.side_by_side import at_once


@dataclass(frozen=True)
class BottomRecipe(Recipe):
    power: int = option(1, least=1, help="{methods}: how much the place of an input counts.")


class Bottom(Mask):
    """Of the weights of one output, those of smallest ``w^2 * place^power``."""

    name, own = "bottom", ("power",)
    words = "the first inputs are zeroed before the last"
    look = Look("green", "p", ":")
    recipe = BottomRecipe

    def scores(self, weight, inputs, recipe):
        places = mx.arange(1, weight.shape[1] + 1).astype(mx.float32)
        return mx.square(weight.astype(mx.float32)) * places**recipe.power


STUDY = """
models = [{model}]
save_checkpoints = true
grid = {{ methods = ["bottom", "bottom+q4-g32"], sparsities = [50] }}
bbq = {{ source = "demo", limit = 4 }}
generation = {{ seeds = [1] }}
perplexity = {{ enabled = false }}
latency = {{ enabled = false }}
"""


@pytest.fixture(autouse=True)
def bottom() -> Iterator[None]:
    registry.register(Bottom())
    yield
    registry.forget("bottom")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "even", "llama", **sizes, **heads)


def test_prune_inspect_and_the_card_know_it(model: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    made = done(["prune", model, "-o", out, "-m", "bottom", "-s", 30, "--power", 2], capsys)
    assert (made["method"], made["power"], made["seed"]) == ("bottom", 2, None)
    found = done(["inspect", out], capsys)
    assert found["disagreements"] == []
    name = "model.layers.0.self_attn.q_proj"
    weight, pruned = (mx.load(str(folder / "model.safetensors"))[f"{name}.weight"] for folder in (model, out))
    order = np.argsort(np.square(np.array(weight)) * np.arange(1, 65) ** 2, axis=1, kind="stable")
    expected = np.array(weight)
    np.put_along_axis(expected, order[:, : 64 * 3 // 10], 0, axis=1)
    np.testing.assert_array_equal(np.array(pruned), expected)
    card = (out / "README.md").read_text()
    assert "`bottom`: the first inputs are zeroed before the last" in card
    assert "-m bottom -s 30 --power 2" in card


def test_help_lists_it_and_options_of_others_are_refused(
    model: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["prune", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "random|magnitude|wanda|sparsegpt|bottom|width|depth|experts|quantize" in shown
    assert "random, magnitude, wanda, sparsegpt and bottom set single weights to zero" in shown
    assert "Bottom: how much the place of an input counts. [default: 1; x>=1]" in shown
    words = ["prune", str(model), "-o", str(tmp_path / "out"), "-s", "50", "-m"]
    assert run([*words, "bottom", "--seed", "1"]) == 1
    assert "Bottom pruning draws nothing, so a seed would be ignored" in capsys.readouterr().err
    assert run([*words, "magnitude", "--power", "2"]) == 2
    assert "--power would be ignored: magnitude sets single weights to zero." in capsys.readouterr().err


def test_a_study_and_its_report_know_it(model: Path, tmp_path: Path, capsys: Capture) -> None:
    file, study = tmp_path / "study.toml", tmp_path / "study"
    file.write_text(STUDY.format(model=json.dumps(str(model))))
    done(["study", file, "-o", study], capsys)
    made = sorted(folder.name for folder in (study / "checkpoints").iterdir())
    assert made == ["even-bottom+q4-g32-s50", "even-bottom-s50"]
    assert (study / "checkpoints" / made[1] / "README.md").read_text().count(
        "`bottom`: the first inputs"
    ) == 1
    found = done(["report", study], capsys)
    page = Path(found["page"]).read_text()
    assert "bottom 50 %" in page
    assert "bottom+q4-g32 50 %" in page
    assert method_style("bottom") == MethodStyle("#00875f", "p", ":", "full", "#00875f")
    assert method_style("bottom+q4-g32").color == "#00875f"


def test_a_study_of_it_is_not_given_to_processes_that_do_not_know_it(model: Path) -> None:
    config = StudyConfig((str(model),), latency=LatencyMeasure(enabled=False))
    assert at_once(config, None) == 1
    with pytest.raises(DataError, match="do not know the method 'bottom'; name an entry point, or leave"):
        at_once(config, 2)


def test_statistics_and_patterns_are_handed_to_it(model: Path) -> None:
    class Loud(Bottom):
        name, statistic, own, recipe = "loud", SQUARE_SUMS, (), Recipe

        def scores(self, weight, inputs, recipe):
            assert inputs.sums.shape == (weight.shape[1],)
            return mx.abs(weight) * inputs.root_mean_square()

    registry.register(Loud())
    text = Calibration("demo", samples=2, sequence_length=32)
    try:
        ours, wandas = load(model), load(model)
        report = prune(ours, Recipe("loud", pattern="2:4", calibration=text))
        prune(wandas, Recipe("wanda", pattern="2:4", calibration=text))
    finally:
        registry.forget("loud")
    assert report.calibration["source"] == "demo"
    for one, other in zip(ours.model.layers, wandas.model.layers, strict=True):
        assert mx.array_equal(one.mlp.down_proj.weight, other.mlp.down_proj.weight)


def test_names_are_taken_once_and_a_package_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="'bottom' already"):
        registry.register(Bottom())
    broken = EntryPoint("sharp", "no_such_package:Sharp", "mlx_prune.methods")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [broken])
    monkeypatch.setattr(registry, "_loaded", False)
    monkeypatch.setattr(registry, "_methods", {})
    with pytest.raises(RecipeError, match=r"'sharp' \(no_such_package:Sharp\) cannot be loaded: No module"):
        registry.methods()


SHARP = """
from mlx_prune.pruning.method import Mask
from mlx_prune.registry import Look

class Sharp(Mask):
    name, words, look = "sharp", "sharp weights are zeroed", Look("blue", "p")
"""


def test_an_installed_package_registers_by_entry_point(tmp_path: Path) -> None:
    about = tmp_path / "sharp-1.0.dist-info"
    about.mkdir()
    (tmp_path / "sharp.py").write_text(SHARP)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sharp\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[mlx_prune.methods]\nsharp = sharp:Sharp\n")
    command = [sys.executable, "-c", "from mlx_prune.cli.main import main; main()", "prune", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert "sparsegpt and sharp set single weights to zero" in " ".join(shown.split())


def test_the_method_in_the_documentation_works(model: Path, tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "methods.md"
    code = page.read_text().partition("```python\n")[2].partition("```")[0]
    script = f"{code}\nfrom mlx_prune.registry import register\nregister(Squared())\n"
    words = [
        "-m",
        "squared",
        "-s",
        "50",
        "--calibration",
        "demo",
        "--samples",
        "2",
        "--sequence-length",
        "32",
    ]
    script += "from mlx_prune.cli.main import run\nassert 'mlx.core' not in __import__('sys').modules\n"
    script += f"raise SystemExit(run({['prune', str(model), '-o', str(tmp_path / 'out'), *words]!r}))\n"
    file = tmp_path / "squared.py"
    file.write_text(script)
    ran = subprocess.run([sys.executable, str(file)], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "squared" in ran.stdout
    assert "-m squared -s 50 --power 2" not in (card := (tmp_path / "out" / "README.md").read_text())
    assert "`squared`: of the weights of one output" in card


class Tail(Structure):
    """The last blocks go, whatever they do."""

    name, removes, refusal = "tail", "the last blocks", "Tail removes the last blocks"
    words = "the last transformer blocks are removed"
    look = Look("violet", "d")

    def check(self, recipe):
        pass

    def write(self, job):
        return shallower.write(job, cosine_sum, last)


def last(change, count):
    return list(range(len(change.influence)))[-count:], change.influence.tolist()


def test_a_method_that_removes_blocks_is_one_class_too(model: Path, tmp_path: Path, capsys: Capture) -> None:
    registry.register(Tail())
    out, words = tmp_path / "out", ["-m", "tail", "-s", "50", "--calibration", "demo", "--samples", "2"]
    try:
        made = done(["prune", model, "-o", out, *words], capsys)
        assert run(["prune", str(model), "-o", str(tmp_path / "other"), *words, "--repair"]) == 2
        assert "--repair would be ignored: tail removes the last blocks." in capsys.readouterr().err
    finally:
        registry.forget("tail")
    assert made["removed"]["blocks"]["removed"] == [1]
    assert "`tail`: the last transformer blocks are removed" in (out / "README.md").read_text()
    assert len(load(out).model.layers) == 1
