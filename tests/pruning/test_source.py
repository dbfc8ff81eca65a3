"""What is pruned from folder to folder, and by what a result is known again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.source import Source

TEXT = Calibration("demo", samples=3, sequence_length=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "m", "llama")


def opened(model: Path, recipe: Recipe, dtype: str = "auto") -> Source[Recipe]:
    return Source.open(model, recipe, dtype=dtype, trust_remote_code=False, what="This")


def test_a_result_is_known_by_recipe_weights_text_and_type(model, tmp_path):
    other = save_tiny_model(tmp_path / "other", "llama", seed=1)
    more = Calibration("demo", samples=4, sequence_length=16)
    found = [
        opened(model, Recipe("wanda", 0.5, calibration=TEXT)).fingerprint(),
        opened(model, Recipe("wanda", 0.6, calibration=TEXT)).fingerprint(),
        opened(model, Recipe("wanda", 0.5, calibration=more)).fingerprint(),
        opened(model, Recipe("wanda", 0.5, calibration=TEXT), "bfloat16").fingerprint(),
        opened(other, Recipe("wanda", 0.5, calibration=TEXT)).fingerprint(),
        opened(model, Recipe("wanda", 0.5, calibration=TEXT)).fingerprint(experts="pruned"),
        opened(model, Recipe("wanda", 0.5, calibration=TEXT)).fingerprint(("allocation",)),
    ]
    assert len(set(found)) == len(found)
    assert opened(model, Recipe("wanda", 0.5, calibration=TEXT)).fingerprint() == found[0]


def test_a_type_is_refused_where_nothing_is_computed(model):
    assert opened(model, Recipe("magnitude", 0.5)).data is None
    with pytest.raises(RecipeError, match="This computes nothing with the model, so dtype float32 would be"):
        opened(model, Recipe("magnitude", 0.5), "float32")
