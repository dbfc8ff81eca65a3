"""Matrices that are left alone or have a sparsity of their own: exact counts, records, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.cli.main import run
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.layers import matches, own_sparsity
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.study.config import config_from_dict, config_to_dict
from mlx_prune.study.recipes import recipe_of

RULES = (("*_proj", 0.2), ("*.down_proj", 0.3), ("model.layers.1", 0.6))


def expected(name: str) -> float:
    if "layers.0." in name:
        return 0.0
    if "layers.1." in name:
        return 0.6
    return 0.3 if name.endswith("down_proj") else 0.2 if name.endswith("_proj") else 0.5


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gemma2"])
@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_every_matrix_loses_exactly_what_its_name_asks(
    architecture: str, method: str, tmp_path: Path, calibration
) -> None:
    model = save_tiny_model(tmp_path / "model", architecture, seed=4)
    text = None if method == "magnitude" else calibration
    recipe = Recipe(method, 0.5, calibration=text, keep=("model.layers.0",), layers=RULES)
    report = prune_checkpoint(model, tmp_path / "out", recipe)
    dense = {linear.name: np.array(linear.weight) for linear in prunable_linears(load(model).model)}
    for linear in prunable_linears(load(tmp_path / "out").model):
        weight, share = np.array(linear.weight), expected(linear.name)
        if not share:
            np.testing.assert_array_equal(weight, dense[linear.name])
        elif method != "wanda":
            assert np.sum(weight == 0) == math.floor(weight.size * share + 1e-9)
        else:
            assert (np.sum(weight == 0, axis=1) == math.floor(weight.shape[1] * share + 1e-9)).all()
    record = PruningRecord.read(tmp_path / "out")
    assert record.layers == {"*_proj": 20, "*.down_proj": 30, "model.layers.1": 60, "model.layers.0": 0}
    assert "single layers" in (tmp_path / "out" / "README.md").read_text()
    assert record.command is not None
    assert "--layer '*.down_proj=30'" in record.command
    in_memory = load(model)
    assert prune(in_memory, recipe).zero_params == report.zero_params
    again = prune_checkpoint(model, tmp_path / "out", recipe)
    assert again.zero_params == report.zero_params
    with pytest.raises(CheckpointError):
        prune_checkpoint(model, tmp_path / "out", dataclasses.replace(recipe, keep=()))


@given(st.lists(st.sampled_from(["*", "*.up_proj", "model.layers.1", "model.layers.[02].*"]), max_size=5))
def test_the_last_rule_that_matches_decides(globs: list[str]) -> None:
    rules = [(glob, index / 10) for index, glob in enumerate(globs)]
    for block in range(3):
        for part in ("mlp.up_proj", "mlp.down_proj"):
            name = f"model.layers.{block}.{part}"
            true = {
                "*": True,
                "*.up_proj": part.endswith("up_proj"),
                "model.layers.1": block == 1,
                "model.layers.[02].*": block != 1,
            }
            last = [sparsity for glob, sparsity in rules if true[glob]][-1:]
            assert own_sparsity(rules, name) == (last[0] if last else None)


def test_a_block_is_not_taken_for_one_whose_number_begins_alike_and_experts_go_by_their_layer() -> None:
    assert matches("model.layers.1", "model.layers.1.mlp.up_proj")
    assert not matches("model.layers.1", "model.layers.10.mlp.up_proj")
    assert matches("*.up_proj", "model.layers.1.mlp.switch_mlp.up_proj[3]")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"keep": ("*.dwn_proj",)},
            r"No matrix of this model matches '\*.dwn_proj'; did you mean '\*.down_proj'",
        ),
        ({"keep": ("model",)}, "nothing would be pruned"),
    ],
)
def test_patterns_that_name_nothing_or_all_are_refused(fields, message: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    with pytest.raises(RecipeError, match=message):
        prune_checkpoint(model, tmp_path / "out", Recipe("magnitude", 0.5, **fields))
    assert not (tmp_path / "out").exists()


def test_what_would_be_ignored_is_refused() -> None:
    with pytest.raises(RecipeError, match="fixes the sparsity of every matrix"):
        Recipe("magnitude", pattern="2:4", layers=(("*.down_proj", 0.3),))
    assert Recipe("magnitude", pattern="2:4", keep=("*.down_proj",)).rules == (("*.down_proj", 0.0),)
    with pytest.raises(RecipeError, match="gives every block its sparsity"):
        Recipe("wanda", 0.5, allocation="owl", keep=("*.down_proj",))


def test_the_command_line_tells_and_inspect_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(save_tiny_model(tmp_path / "model"))
    own = ["--keep", "model.layers.0", "--layer", "*.down_proj=30"]
    assert run(["prune", model, "-m", "magnitude", "-s", "50", *own, "-o", str(tmp_path / "out")]) == 0
    assert "*.down_proj 30 %, model.layers.0 left alone" in capsys.readouterr().out
    assert run(["inspect", str(tmp_path / "out")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Asked of single layers: *.down_proj 30 %, model.layers.0 left alone." in shown
    assert "agree with the record" in shown
    for method in (["width", "-s", "50"], ["quantize"]):
        assert run(["prune", model, "-m", *method, *own, "-o", str(tmp_path / "other")]) == 2
        assert "--keep would be ignored" in capsys.readouterr().err
    assert run(["prune", model, "-m", "magnitude", "-s", "50", "--layer", "x", "-o", "out"]) == 2
    assert "GLOB=PERCENT" in capsys.readouterr().err


def test_a_study_gives_layers_to_all_its_masks_and_refuses_other_methods() -> None:
    content = {
        "models": ["demo"],
        "grid": {"methods": ["wanda"]},
        "layers": {"*.down_proj": 30, "model.layers.0": 0},
    }
    config = config_from_dict(content)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    (name,) = config.configurations("demo")[1:2]
    recipe = recipe_of(config, name)
    assert isinstance(recipe, Recipe)
    assert recipe.layers == (("*.down_proj", 0.3), ("model.layers.0", 0.0))
    for method in ("width", "q4"):
        with pytest.raises(RecipeError, match=rf"{method} does not"):
            config_from_dict({**content, "grid": {"methods": [method]}})
