"""Published figures appear beside measured ones where a study covers them, and nowhere else."""

import json
import re
from dataclasses import replace

import pytest
from report_study import write_full_study

from mlx_prune.report.tables.published import Published, published
from mlx_prune.report.tables.table import Table
from mlx_prune.report.write import report_tables

GRID = (("dense", 0.0, None), ("magnitude", 50.0, None), ("wanda", 50.0, None), ("wanda", 50.0, "2:4"))
CATEGORIES = ("Age", "Gender_identity", "Race_ethnicity", "Religion", "SES")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_full_study(folder, models=("Gemma-2-9b-it",), items=50, grid=GRID, categories=CATEGORIES)
    return report_tables(folder)


def test_the_paper_s_figures_are_shipped_as_printed(real_data):
    printed = json.loads((real_data / "reference/paper_reported.json").read_text())["rows"]
    for ours, theirs in zip(published()["rows"], printed, strict=True):
        assert [ours["model"], ours["method"], ours["target_sparsity"]] == [
            theirs["model"],
            theirs["method"],
            theirs["target_sparsity"],
        ]
        for name in ("perplexity", "srs_overall", "srs_by_category", "actual_sparsity", "latency_s"):
            assert ours.get(name) == theirs.get(name)
        assert ours.get("emergence_percent") == theirs["emergence_rate"]


def test_reported_and_measured_stand_side_by_side(tables):
    table = tables["published"]
    row = table.where(prune_method="wanda", figure="SRS, Age").rows[0]
    measured = tables["rates"].where(prune_method="wanda", pattern=None, category="Age").rows[0]["srs"]
    assert row["reported"] == 0.193
    assert row["measured"] == measured
    assert row["difference"] == pytest.approx(measured - 0.193)
    emergence = table.where(prune_method="wanda", figure="emergence, %").rows[0]
    observed = tables["emergence"].where(prune_method="wanda", pattern=None).rows[0]["observed"]
    assert emergence["measured"] == pytest.approx(100 * observed)


def test_patterns_never_stand_beside_a_published_figure(tables):
    actual = tables["published"].where(prune_method="wanda", figure="actual sparsity, %")
    assert len(actual) == 1


def test_whole_grid_counts_are_left_out_of_a_partial_study(tables):
    assert "all" not in tables["published"].column("model")


def test_whole_grid_counts_appear_for_the_whole_grid(tables):
    models = {row["model"] for row in published()["rows"]}
    row = tables.overall.rows[0]
    rows = [
        replace(row, configuration=replace(row.configuration, model=name), n=10) for name in sorted(models)
    ]
    tests = [replace(test, comparisons=180) for test in tables.test_summary.rows]
    overall, summary = Table.of(type(row), rows), Table.of(type(tests[0]), tests)
    whole = replace(tables, overall=overall, test_summary=summary)
    table = Table.of(Published, Published.of_tables(whole))
    assert table.where(figure="answers recorded").rows[0]["measured"] == 30
    assert table.where(figure="of these significant at p < 0.05").rows[0]["reported"] == 141


def test_other_models_get_no_such_table(tmp_path):
    folder = write_full_study(tmp_path, models=("alpha",), items=12, grid=GRID)
    assert len(report_tables(folder)["published"]) == 0


def test_the_source_is_named():
    assert re.search(r"arXiv:2605\.08137", published()["source"])
