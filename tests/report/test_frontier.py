"""What was bought and at what price: table, sentences, figure, page and terminal agree with the study."""

import io
import json
import math
from statistics import NormalDist

import pytest
from mixed_study import FACTS, FEW, MIXED, by_label, few, write_mixed_study
from page_parts import frontier_section
from rich.console import Console

from mlx_prune.cli.tables.frontier import frontier_table
from mlx_prune.configuration import Configuration
from mlx_prune.report.figures.draw import FRONTIER, draw, render
from mlx_prune.report.tables.frontier import CRITERIA, Frontier, criteria
from mlx_prune.report.tables.table import Interval
from mlx_prune.report.words.finding import find
from mlx_prune.report.words.frontier import frontier_sentences, undominated_sentences
from mlx_prune.report.write import report_tables
from mlx_prune.stats.dominance import Cost


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return report_tables(write_mixed_study(tmp_path_factory.mktemp("mixed"), items=40))


def test_every_configuration_has_its_size_time_and_perplexity(tables):
    assert len(tables["frontier"]) == 2 * len(MIXED)
    for row in tables["frontier"].rows:
        name = f"{row['prune_method']} {row['pattern']}" if row["pattern"] else row["prune_method"]
        size, ratio, perplexity, actual = FACTS[name]
        assert row["size_ratio"] == pytest.approx(size, rel=1e-6)
        # Zeros change neither shapes nor types: whatever was measured, their time is the dense model's.
        masked = row["prune_method"] in ("random", "magnitude", "wanda", "sparsegpt", "wanda+owl")
        assert row["latency_ratio"] == pytest.approx(1.0 if masked else ratio)
        assert row["latency_verdict"] == {"dense": None}.get(
            row["prune_method"], "same" if masked else "faster"
        )
        assert row["perplexity"] == perplexity
        assert row["actual_sparsity"] == actual
        spread = math.log(row["perplexity_high"] / row["perplexity_low"])
        together = NormalDist().inv_cdf(1 - 0.05 / (2 * 2 * len(MIXED)))
        assert spread == pytest.approx(2 * together * 0.015, rel=1e-4)


def test_bias_is_the_paired_change_of_srs_minus_anti(tables):
    overall = {(row["model"], row.configuration.name): row for row in tables["overall"].rows}
    for row in tables["frontier"].rows:
        mine = overall[row["model"], row.configuration.name]
        assert (row["srs"], row["usr"], row["anti_rate"]) == (mine["srs"], mine["usr"], mine["anti_rate"])
        if row["prune_method"] != "dense":
            assert row["direction_change_low"] <= row["direction_change"] <= row["direction_change_high"]
    parts = tables["direction"].where(category="overall").rows
    changes = [row["direction_change"] for row in tables["frontier"].rows if row["prune_method"] != "dense"]
    assert changes == pytest.approx([row["bias_score_delta"] for row in parts])


def test_emergence_is_the_excess_above_the_null_with_its_test(tables):
    rows = [row for row in tables["frontier"].rows if row["prune_method"] != "dense"]
    for row, emergence in zip(rows, tables["emergence"].rows, strict=True):
        assert row["emergence_from"] == "fresh answers"
        assert row["emergence_excess"] == emergence["excess"]
        assert row["emergence_excess"] == pytest.approx(emergence["expected"] - emergence["null"])
        assert row["p_emergence"] == emergence["p_excess"]


def test_whoever_is_dominated_is_worse_in_something_and_better_in_nothing(tables):
    for model in ("alpha", "beta"):
        rows = by_label(tables, model)
        found = dict(zip(rows, criteria(list(rows.values())), strict=True))
        assert any(row["standing"] == "undominated" for row in rows.values())
        for label, row in rows.items():
            assert (row["standing"] == "dominated") == (row["dominated_by"] is not None)
            for other in (row["dominated_by"] or "").split(", ") if row["dominated_by"] else ():
                assert rows[other]["standing"] == "undominated"
                pairs = list(zip(found[other], found[label], strict=True))
                assert any(mine.high < its.low for mine, its in pairs)
                assert not any(its.high < mine.low for mine, its in pairs)


def test_zeros_that_buy_nothing_are_dominated_by_the_dense_model_itself(tmp_path):
    grid = tuple(entry for entry in FEW if entry[0] in ("dense", "wanda", "random"))
    tables = report_tables(write_mixed_study(tmp_path, models=("alpha",), items=30, grid=grid))
    rows = by_label(tables)
    assert rows["dense"]["standing"] == "undominated"
    assert rows["wanda 50 %"]["dominated_by"] == rows["random 50 %"]["dominated_by"] == "dense"
    (text,) = frontier_sentences(tables)
    assert "Among the 4 versions of alpha, only the dense one is undominated" in text
    assert "The rest is dominated, by dense: random 50 %, wanda 50 % and wanda 2:4." in text


def test_the_dense_model_is_never_dominated_by_its_own_mask(tmp_path):
    grid = tuple(entry for entry in FEW if entry[0] in ("dense", "wanda"))
    folder = write_mixed_study(tmp_path, models=("alpha",), items=30, grid=grid)
    # Whatever was measured: much faster, and a much lower perplexity of one text.
    for file, changes in (
        ("latency", {"ratio": 0.8, "low": 0.79, "high": 0.81, "verdict": "faster"}),
        ("perplexity", {"perplexity": 5.0, "standard_error": 0.01}),
    ):
        path = folder / f"{file}.json"
        rows = json.loads(path.read_text())["results"]
        changed = [row | changes if row["prune_method"] == "wanda" else row for row in rows]
        path.write_text(json.dumps({"results": changed}))
    tables = report_tables(folder)
    rows = by_label(tables)
    assert {row["standing"] for row in rows.values()} == {"undominated"}
    assert {row["latency_ratio"] for row in rows.values()} == {1.0}
    measured = tables["latency_ratios"].rows
    assert {(row["ratio"], row["verdict"]) for row in measured} == {(0.8, "faster")}
    (text,) = undominated_sentences(tables)
    assert "nothing dominates the dense one" in text


def test_a_run_that_drifted_ties_with_every_time(tmp_path):
    grid = tuple(entry for entry in FEW if entry[0] in ("dense", "width"))
    folder = write_mixed_study(tmp_path, models=("alpha",), items=30, grid=grid, without=("sizes",))
    path = folder / "latency.json"
    standings = {}
    for drift in (0.05, 0.3):
        rows = json.loads(path.read_text())["results"]
        path.write_text(json.dumps({"results": [row | {"drift": drift} for row in rows]}))
        tables = report_tables(folder)
        standings[drift] = by_label(tables)["width 50 %"]["standing"]
        out = io.StringIO()
        Console(width=80, file=out).print(frontier_table(tables["frontier"].rows))
        assert "0.68" in out.getvalue()
        assert "inf" not in out.getvalue() + frontier_section(tables, [])
        assert draw(FRONTIER, tables) is not None
    # Its perplexity is far above dense, so only its time can speak for it.
    assert standings == {0.05: "undominated", 0.3: "dominated"}


def test_a_mask_needs_no_clock_but_what_has_another_size_does(tmp_path):
    without = (("latency", "alpha", "wanda"),)
    rows = by_label(few(tmp_path / "one", without=without))
    assert rows["wanda 50 %"]["standing"] != "not judged"
    folder = write_mixed_study(tmp_path / "two", models=("alpha",), items=30, grid=FEW, without=without)
    path = folder / "sizes.json"
    sizes = json.loads(path.read_text())["results"]
    for row in sizes:
        if row["prune_method"] == "wanda":
            row["size_bytes"] //= 2
    path.write_text(json.dumps({"results": sizes}))
    assert by_label(report_tables(folder))["wanda 50 %"]["standing"] == "not judged"


def test_intervals_of_bias_hold_together_too(tables):
    alone = {row.configuration: row for row in tables["direction"].where(category="overall").rows}
    for row in tables["frontier"].rows:
        if row["prune_method"] != "dense":
            one = alone[row.configuration]
            for change, part in (
                (-row["direction_change_low"], -one["direction_part_low"]),
                (row["direction_change_high"], one["direction_part_high"]),
            ):
                # The change is twice the part; no interval leaves the scale.
                assert change == 2 or change > 2.02 * part


def row_of(method="wanda", ratio=0.97, low=0.96, high=0.98, bias_high=0.1):
    nothing = dict.fromkeys(
        ("actual_sparsity", "answered", "size_bytes", "latency_verdict", "srs", "usr", "anti_rate")
    )
    nothing |= dict.fromkeys(("q_direction", "p_emergence", "emergence_from"))
    return Frontier(
        **nothing,
        configuration=Configuration("alpha", method),
        too_few_answered=False,
        size_ratio=1.0,
        latency=Interval(ratio, low, high),
        perplexity=Interval(None, 8.0, 9.0),
        direction_change=Interval(None, -0.3, bias_high),
        emergence_excess=Interval(),
    )


def test_a_time_found_the_same_ties_with_dense_and_a_fall_of_bias_is_no_merit():
    dense = row_of("dense", 1.0)
    ((size, time, perplexity, bias), _) = criteria([row_of(), dense])
    assert size.low < 1 < size.high
    assert (perplexity, bias) == (Cost(8.0, 9.0), Cost(0.0, 0.1))
    # The whole interval must be 5 % below that of dense, which is 1.
    ((_, of_dense, *_),) = criteria([row_of("dense", 1.0, 1.0, 1.0), row_of()])[:1]
    assert time.low < of_dense.low < time.high
    for high, better in ((0.953, False), (0.952, True)):
        ((_, faster, _, fallen), _) = criteria([row_of(low=0.9, high=high, bias_high=-0.1), dense])
        assert (faster.high < of_dense.low) == better
        assert fallen == Cost(0.0, 0.0)


def test_a_criterion_that_only_the_dense_model_has_is_left_out():
    dense = row_of("dense", 1.0)
    unknown = row_of(ratio=0.9, low=None, high=None)
    assert [costs[1] for costs in criteria([dense, unknown])] == [None, None]
    assert [costs[1] is None for costs in criteria([dense, unknown, row_of()])] == [False, True, False]


@pytest.mark.parametrize(
    ("without", "words", "lost"),
    [
        ("latency", "time of an answer was not measured", {"time": 0}),
        ("sizes", "size was not measured", {"size": 0}),
        ("perplexity", "perplexity was not measured", {"Perplexity": 0}),
    ],
)
def test_what_was_not_measured_is_left_out_and_said(tmp_path, without, words, lost):
    tables = few(tmp_path, without=(without,))
    rows = by_label(tables)
    assert {row["standing"] for row in rows.values()} <= {"undominated", "dominated"}
    (text,) = undominated_sentences(tables)
    assert words in text
    titles = [axes.get_title(loc="left") for axes in draw(FRONTIER, tables).axes]
    assert len(titles) == 2
    assert not any(word in title for word in lost for title in titles)
    assert words in find(tables).paragraph


def test_without_size_and_time_there_is_no_figure_but_a_table(tmp_path):
    tables = few(tmp_path, without=("latency", "sizes"))
    assert draw(FRONTIER, tables) is None
    (text,) = undominated_sentences(tables)
    assert "in perplexity and directional bias (size and time of an answer were not measured)" in text


def test_a_configuration_that_lacks_a_measure_is_not_judged(tmp_path):
    tables = few(tmp_path, without=(("latency", "alpha", "q4"),))
    assert by_label(tables)["q4"]["standing"] == "not judged"
    assert "q4" not in (by_label(tables)["wanda 50 %"]["dominated_by"] or "")
    (text,) = frontier_sentences(tables)
    assert "Among the 5 versions of alpha that could be judged, nothing dominates the dense one" in text
    assert "Not judged, for want of a measure: q4." in text


def test_where_every_version_lacks_something_nothing_is_claimed(tmp_path):
    grid = tuple(entry for entry in FEW if entry[0] in ("dense", "width", "q4"))
    without = (("latency", "alpha", "q4"), ("sizes", "alpha", "width"))
    folder = write_mixed_study(tmp_path, models=("alpha",), items=30, grid=grid, without=without)
    tables = report_tables(folder)
    assert {row["standing"] for row in tables["frontier"].rows[1:]} == {"not judged"}
    (text,) = frontier_sentences(tables)
    assert text.startswith("No two versions of alpha have all the measures that were taken")
    assert text.endswith("Not judged, for want of a measure: width 50 % and q4.")


def test_a_perplexity_that_overflowed_is_infinite_and_dominated(tmp_path):
    folder = write_mixed_study(tmp_path, models=("alpha",), items=30, grid=FEW)
    path = folder / "perplexity.json"
    results = json.loads(path.read_text())["results"]
    for row in results:
        if row["prune_method"] == "random":
            row["perplexity"] = row["standard_error"] = None
    path.write_text(json.dumps({"results": results}))
    tables = report_tables(folder)
    row = by_label(tables)["random 50 %"]
    assert row["perplexity"] == math.inf
    assert row["standing"] == "dominated"
    svg = render(draw(FRONTIER, tables), "svg").decode()
    assert "↑ ∞" in svg
    assert "∞" in frontier_section(tables, [])


def test_there_is_nothing_to_weigh_without_dense_or_without_compression(tmp_path):
    for number, grid in enumerate((FEW[:1], FEW[1:])):
        tables = report_tables(
            write_mixed_study(tmp_path / str(number), models=("alpha",), items=20, grid=grid)
        )
        assert len(tables["frontier"]) == len(tables["items_changing"]) == 0
        assert undominated_sentences(tables) == []
        assert frontier_section(tables, []) == ""
        assert draw(FRONTIER, tables) is None


def test_criteria_are_documented_in_the_order_they_are_computed():
    assert CRITERIA == ("size", "latency", "perplexity", "bias")
