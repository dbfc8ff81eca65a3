"""The command recorded with a checkpoint: it asks for this very recipe, and tells no path."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.cli.prune import command
from mlx_prune.cli.prune_options import Request, read_request
from mlx_prune.pruning.command import command_of
from mlx_prune.pruning.job import prune_and_quantize
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.quantizing import quantize_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structured_recipe import StructuredRecipe

TEXT = Calibration("demo", 8, 64)
RECIPES = [
    Recipe("random", 0.5, seed=3),
    Recipe("magnitude", 0.3),
    Recipe("magnitude", pattern="4:8"),
    Recipe("wanda", 0.5, calibration=TEXT),
    Recipe("wanda", 0.5, scope="paper", statistics="dense", seed=7, calibration=TEXT),
    Recipe("wanda", 0.475, allocation="owl", calibration=TEXT),
    Recipe("sparsegpt", pattern="2:4", calibration=TEXT),
    StructuredRecipe(
        "width", 0.5, units="both", scores="magnitude", multiple=16, repair=True, calibration=TEXT
    ),
    StructuredRecipe("width", 0.25, scores="magnitude"),
    StructuredRecipe("depth", 0.3, contiguous=True, repair=True, calibration=TEXT),
]


def asked(text: str) -> Request:
    words = shlex.split(text)
    assert words[:2] == ["mlxprune", "prune"]
    context = command.make_context("prune", words[2:])
    return read_request(context, context.params["method"], context.params)


def described(recipe: Recipe | StructuredRecipe) -> dict[str, Any] | None:
    text = recipe.calibration
    if text is None:
        return None
    return {"source": text.source, "samples": text.samples, "sequence_length": text.sequence_length, "x": 1}


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_the_command_asks_for_this_very_recipe(recipe: Recipe | StructuredRecipe) -> None:
    request = asked(command_of(recipe, "org/Tiny", described(recipe)))
    assert request.recipe == recipe
    assert request.quantization is None


def test_every_choice_is_named_and_the_rest_left_out() -> None:
    text = Calibration("c4", 128, 2048)
    paper = Recipe("wanda", 0.5, scope="paper", statistics="dense", seed=0, calibration=text)
    assert command_of(paper, "google/gemma-2-9b-it", described(paper)) == (
        "mlxprune prune google/gemma-2-9b-it -o OUT -m wanda -s 50 --scope paper --statistics dense "
        "--calibration c4 --samples 128 --sequence-length 2048 --seed 0"
    )
    pattern = Recipe("magnitude", pattern="2:4")
    assert command_of(pattern, "google/gemma-2-9b-it", None) == (
        "mlxprune prune google/gemma-2-9b-it -o OUT -m magnitude --pattern 2:4"
    )


def test_paths_are_not_told(tmp_path: Path) -> None:
    model = tmp_path / "secret-user" / "My Model"
    model.mkdir(parents=True)
    text = {"source": "/home/me/my text.txt", "samples": 2, "sequence_length": 16}
    found = command_of(Recipe("wanda", 0.5), str(model), text)
    assert found.startswith("mlxprune prune 'My Model' -o OUT -m wanda -s 50 ")
    assert "--calibration 'my text.txt' --samples 2 --sequence-length 16" in found


@pytest.mark.parametrize("form", [Quantization(), Quantization(bits=3, group_size=32), Quantization("mxfp4")])
def test_quantization_adds_its_own_words(tmp_path: Path, form: Quantization) -> None:
    model = save_tiny_model(
        tmp_path / "m", "llama", hidden_size=64, intermediate_size=128, head_dim=32, num_attention_heads=2
    )
    both = prune_and_quantize(str(model), tmp_path / "both", Recipe("magnitude", 0.5), form).record
    assert asked(str(both.command)) == Request(Recipe("magnitude", 0.5), form)
    alone = quantize_checkpoint(str(model), tmp_path / "alone", form).record
    assert asked(str(alone.command)) == Request(None, form)
    of_one_without = PruningRecord.read(tmp_path / "both").without("command", "quantization")
    of_one_without.with_entries(method="magnitude").write(model)
    assert quantize_checkpoint(str(model), tmp_path / "unknown", form).record.command is None
