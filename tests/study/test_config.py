"""Reading a study from TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError, RecipeError
from mlx_prune.study.config import (
    StudyConfig,
    config_from_dict,
    config_to_dict,
    pattern_sparsity,
    read_config,
)


def test_the_published_grid_has_thirteen_configurations_per_model() -> None:
    config = StudyConfig(models=("a", "b", "c"))
    names = config.configurations("a")
    assert len(names) * len(config.models) == 39
    assert names[0] == Configuration("a", "dense", 0.0, None)
    assert [n.folder for n in names[9:]] == ["wanda-s10", "wanda-s30", "wanda-s50", "wanda-s70"]


def test_patterns_are_run_beside_the_sparsities() -> None:
    config = config_from_dict({"models": ["m"], "grid": {"methods": ["wanda"], "patterns": ["2:4", "1:4"]}})
    assert [n.folder for n in config.configurations("m")][-2:] == ["wanda-s50-2of4", "wanda-s75-1of4"]


@pytest.mark.parametrize("pattern", ["4:2", "0:4", "2", "2:4:8", "a:b", "-1:4", "4:4"])
def test_impossible_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(RecipeError):
        pattern_sparsity(pattern)


def test_a_file_survives_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'models = ["demo"]\nname = "t"\n[grid]\nsparsities = [12.5, 50]\n'
        '[bbq]\nlimit = 7\ncategories = ["Age"]\n'
        "[generation]\nseeds = [1, 2]\ntemperature = 1\n"
    )
    config = read_config(path)
    assert config.grid.sparsities == (12.5, 50.0)
    assert config.bbq.categories == ("Age",)
    assert config.generation.seeds == (1, 2)
    assert config_from_dict(config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`models` is missing"),
        ("models = []", "at least one model"),
        ('models = ["m"]\n[grid]\nmethod = ["wanda"]', "unknown key 'method'; did you mean 'methods'"),
        ('models = ["m"]\nseed = 3', "unknown key 'seed'"),
        ('models = "m"', "is a list"),
        ('models = ["m"]\n[bbq]\nlimit = "ten"', "limit must be int"),
        ('models = ["m"]\n[bbq]\nlimit = true', "limit must be int"),
        ('models = ["m"]\nbbq = 3', "is a section"),
        ("models = [", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_config(path)


def test_a_missing_file_and_bad_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no study file"):
        read_config(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="did you mean 'wanda'"):
        config_from_dict({"models": ["m"], "grid": {"methods": ["wandas"]}})
    with pytest.raises(RecipeError, match="percentages"):
        config_from_dict({"models": ["m"], "grid": {"sparsities": [0.5]}})
