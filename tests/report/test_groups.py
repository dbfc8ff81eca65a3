"""Social groups in a report: the table, what is said of them, and the figure."""

from dataclasses import replace

import pytest
from kept_texts import keep_texts
from report_study import GRID, write_full_study

from mlx_prune.report.figures.draw import FIGURES, draw
from mlx_prune.report.figures.style import NARROW, WIDE
from mlx_prune.report.tables.table import Interval, Table
from mlx_prune.report.words.groups import groups_limits, groups_sentence
from mlx_prune.report.write import report_tables
from mlx_prune.stats.tests import benjamini_hochberg

SMALL = (GRID[0], GRID[2], GRID[8], ("wanda", 50.0, "2:4"))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = write_full_study(tmp_path_factory.mktemp("study"), items=160, grid=SMALL)
    keep_texts(folder)
    return report_tables(folder)


def changed(tables, **values):
    """The tables with one group's change beyond chance, and that of its category as given."""
    first = next(row for row in tables.groups.rows if row.srs_delta.value is not None)
    moved = replace(first, srs_delta=Interval(0.3, 0.2, 0.4), q_clustered=0.001)
    others = [replace(row, q_clustered=0.9) for row in tables.groups.rows if row is not first]
    categories = [replace(row, **values) for row in tables.paired_tests.rows]
    return replace(
        tables,
        groups=Table.of(type(first), [moved, *others]),
        paired_tests=Table.of(type(categories[0]), categories),
    )


def test_groups_of_a_category_add_up_to_it(tables):
    rates = {(row.configuration, row.category): row for row in tables.rates.rows}
    assert len(tables.groups) == 2 * len(rates)
    for (configuration, category), rate in rates.items():
        mine = [
            row
            for row in tables.groups.rows
            if (row.configuration, row.category) == (configuration, category)
        ]
        assert sum(row.n_valid for row in mine) == rate.n_valid
        assert sum(row.srs * row.n_valid for row in mine) == pytest.approx(rate.srs * rate.n_valid)
        assert all((row.srs_delta.value is None) == configuration.is_dense for row in mine)


def test_all_groups_and_models_are_one_family_of_tests(tables):
    p = [float("nan") if row.p_clustered is None else row.p_clustered for row in tables.groups.rows]
    q = [float("nan") if row.q_clustered is None else row.q_clustered for row in tables.groups.rows]
    assert q == pytest.approx(benjamini_hochberg(p), nan_ok=True)
    assert sum(value == value for value in q) > 10


def test_a_group_that_moved_alone_is_named_with_its_interval(tables):
    sentence = groups_sentence(changed(tables, q_clustered=0.4))
    row = next(row for row in tables.groups.rows if row.srs_delta.value is not None)
    assert f"stereotypes are about {row.group} ({row.category})" in sentence
    assert (
        "moved by +0.300 (95 % interval +0.200 to +0.400), while the category as a whole did not" in sentence
    )


def test_nothing_is_said_of_a_group_whose_category_moved_or_was_not_tested(tables):
    assert groups_sentence(changed(tables, q_clustered=0.01)) == ""
    assert groups_sentence(changed(tables, q_clustered=None)) == ""


def test_groups_of_few_templates_and_unknown_groups_are_limits(tables, tmp_path):
    assert next(groups_limits(tables)).startswith("2 of 6 social groups")
    untested = [replace(row, p_clustered=None) for row in tables.groups.rows]
    few = replace(tables, groups=Table.of(type(untested[0]), untested))
    assert next(groups_limits(few)).startswith("6 of 6 social groups are asked about in fewer than 6")
    unknown = report_tables(write_full_study(tmp_path, items=20, grid=SMALL))
    assert "texts of the questions are not known" in next(groups_limits(unknown))


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_figure_has_a_line_per_group_below_its_category_and_a_bar_where_it_is_sure(tables, layout):
    kind = next(kind for kind in FIGURES if kind.name == "groups")
    figure = draw(kind, changed(tables), layout)
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["Age", "north", "south", "Religion", "north", "south", "SES", "north", "south"]
    points = [line for line in axes.get_lines() if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert sum(len(line.get_xdata()) for line in points) == 6 * 3
    assert sum(line.get_alpha() == 1 for line in points) == 1
    bars = [path for found in axes.collections[1:] for path in found.get_paths()]
    assert [[end[0] for end in bar.vertices] for bar in bars] == [[0.2, 0.4]]
