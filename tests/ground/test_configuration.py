"""How a configuration is named, in rows and for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.configuration import COLUMNS, Configuration
from mlx_prune.errors import RecipeError


@given(
    st.text(min_size=1),
    st.text(min_size=1),
    st.floats(0, 99),
    st.none() | st.from_regex(r"[1-9]:[1-9]", fullmatch=True),
)
def test_a_row_says_the_whole_configuration(model, method, sparsity, pattern):
    configuration = Configuration(model, method, sparsity, pattern)
    assert tuple(configuration.columns) == COLUMNS
    assert Configuration.of(configuration.columns) == configuration


@pytest.mark.parametrize(
    ("configuration", "name", "folder"),
    [
        (Configuration("m"), "dense", "dense-s0"),
        (Configuration("m", "q4"), "q4", "q4-s0"),
        (Configuration("m", "wanda", 50.0), "wanda 50 %", "wanda-s50"),
        (Configuration("m", "wanda", 50.0, "2:4"), "wanda 2:4", "wanda-s50-2of4"),
        (Configuration("m", "wanda+q4", 33.5), "wanda+q4 33.5 %", "wanda+q4-s33.5"),
        (Configuration("m", "another tool's", 10.0), "another tool's 10 %", "another tool's-s10"),
    ],
)
def test_people_and_folders_get_short_names(configuration, name, folder):
    assert (configuration.name, configuration.folder) == (name, folder)
    assert configuration.full_name == f"{name} of m"
    assert configuration.dense == Configuration("m")
    assert configuration.is_dense == (configuration == configuration.dense)


def test_a_method_of_another_tool_has_a_name_but_no_label():
    with pytest.raises(RecipeError, match="Unknown method"):
        _ = Configuration("m", "another", 10.0).label


def test_configurations_are_sorted_by_model_with_the_dense_one_first():
    in_order = [
        Configuration("a"),
        Configuration("a", "magnitude", 30.0),
        Configuration("a", "wanda", 50.0),
        Configuration("a", "wanda", 50.0, "2:4"),
        Configuration("a", "another tool's", 10.0),
        Configuration("b"),
    ]
    assert sorted(set(in_order), key=lambda one: one.order) == in_order
