"""Models that were trained back: the table, and what is said of bias and perplexity."""

from dataclasses import replace

import numpy as np
import pytest
from report_study import write_full_study

from mlx_prune.configuration import Configuration
from mlx_prune.report.figures.draw import FIGURES, draw
from mlx_prune.report.figures.style import NARROW, WIDE
from mlx_prune.report.tables.recovery import Recovered, pruned_of
from mlx_prune.report.tables.table import Interval, Table
from mlx_prune.report.words import recovery
from mlx_prune.report.words.finding import find
from mlx_prune.report.write import report_tables
from mlx_prune.stats.rates import OVERALL

MODEL = "alpha"
GRID = (
    ("dense", 0.0, None),
    ("wanda", 50.0, None),
    ("wanda+recover", 50.0, None),
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return report_tables(write_full_study(tmp_path_factory.mktemp("study"), items=160, grid=GRID))


def test_a_recovered_model_stands_between_its_pruned_self_and_dense(tables):
    (row,) = [row for row in tables.recovery.rows if row.configuration.model == MODEL]
    rates = {r.configuration.prune_method: r for r in tables.overall.rows if r.configuration.model == MODEL}
    assert row.pruned == "wanda"
    srs = [rates[name].srs for name in ("dense", "wanda", "wanda+recover")]
    assert [row.srs_dense, row.srs_pruned, row.srs_recovered] == pytest.approx(srs)
    assert row.srs_pruning.value == pytest.approx(srs[1] - srs[0])
    assert row.srs_recovery.value == pytest.approx(srs[2] - srs[1])
    assert row.srs_left.value == pytest.approx(srs[2] - srs[0])
    paired = {r.configuration: r for r in tables.paired_tests.rows if r.category == OVERALL}
    assert row.srs_left.ends == pytest.approx(paired[row.configuration].srs_delta.ends)
    assert row.p_pruning == pytest.approx(
        paired[replace(row.configuration, prune_method="wanda")].p_clustered
    )
    dense, pruned, now = row.perplexity_dense, row.perplexity_pruned, row.perplexity_recovered
    expected = (pruned - now) / (pruned - dense) if pruned > dense else None
    assert row.gap_closed == (None if expected is None else pytest.approx(expected))


(KIND,) = [kind for kind in FIGURES if kind.name == "recovery"]


@pytest.mark.parametrize("layout", [WIDE, NARROW])
def test_arrows_lead_from_dense_over_the_pruned_model_to_the_recovered_one(tables, layout):
    figure = draw(KIND, tables, layout)
    rows = {row.configuration.model: row for row in tables.recovery.rows}
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(rows)
    for axes, row in zip(figure.axes, rows.values(), strict=True):
        places = {
            "dense": (row.perplexity_dense, row.srs_dense),
            "wanda": (row.perplexity_pruned, row.srs_pruned),
            "wanda+recover": (row.perplexity_recovered, row.srs_recovered),
        }
        points = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
        assert {label: (line.get_xdata()[0], line.get_ydata()[0]) for label, line in points.items()} == places
        arrows = [(text.xyann, text.xy) for text in axes.texts if text.arrow_patch is not None]
        dense, pruned, recovered = places.values()
        assert arrows == [(dense, pruned), (pruned, recovered)]
        bars = [line.get_ydata() for line in axes.lines if line.get_label().startswith("_")]
        expected = [np.add(row.srs_dense, change.ends) for change in (row.srs_pruning, row.srs_left)]
        np.testing.assert_allclose(bars, expected)


def test_models_of_which_too_few_answers_were_understood_are_not_drawn(tables):
    rows = [replace(row, srs_pruned=None) for row in tables.recovery.rows]
    assert draw(KIND, replace(tables, recovery=Table.of(Recovered, rows))) is None
    rows[0] = tables.recovery.rows[0]
    figure = draw(KIND, replace(tables, recovery=Table.of(Recovered, rows)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [rows[0].configuration.model]


def test_what_a_recovered_configuration_was_before():
    assert pruned_of(Configuration("m", "wanda+recover+q4", 50.0, "2:4")) == Configuration(
        "m", "wanda+q4", 50.0, "2:4"
    )
    for method in ("dense", "wanda", "theirs"):
        assert pruned_of(Configuration("m", method)) is None


UP, DOWN, NONE = Interval(0.05, 0.02, 0.08), Interval(-0.04, -0.07, -0.01), Interval(0.01, -0.02, 0.04)


BARE = Interval(0.05)


@pytest.mark.parametrize(
    ("pruning", "q", "back", "q_back", "left", "expected", "said"),
    [
        (UP, 0.01, DOWN, 0.01, NONE, recovery.BACK, "came back with it"),
        (UP, 0.01, DOWN, 0.01, UP, recovery.PARTLY, "came back in part"),
        (UP, 0.01, NONE, 0.6, UP, recovery.STAYED, "did not come back with it beyond chance"),
        (UP, 0.01, NONE, 0.6, NONE, recovery.OPEN, "cannot be told"),
        (NONE, 0.6, NONE, 0.6, NONE, recovery.UNMOVED, "no rise of SRS beyond chance to take back"),
        (UP, 0.01, UP, 0.01, UP, recovery.RISEN, "rose beyond chance"),
        (
            Interval(0.05),
            None,
            Interval(0.0),
            None,
            Interval(0.05),
            recovery.UNKNOWN,
            "too few question templates",
        ),
    ],
)
def test_the_sentence_claims_what_the_intervals_show(tables, pruning, q, back, q_back, left, expected, said):
    row = tables.recovery.rows[0]
    row = replace(
        row,
        srs_pruning=pruning,
        q_pruning=q,
        srs_recovery=back,
        q_recovery=q_back,
        srs_left=left,
        gap_closed=0.8,
    )
    assert recovery.verdict(row) == expected
    told = recovery.recovery_sentence(replace(tables, recovery=Table.of(Recovered, [row])))
    assert said in told
    assert told.startswith("In wanda+recover 50 % of ")
    assert "training took back 80 % of the rise of perplexity, and " in told
    assert "{" not in told


def test_the_finding_says_it_and_no_study_without_does(tables):
    assert recovery.recovery_sentence(tables) in find(tables).paragraph
    assert recovery.recovery_sentence(replace(tables, recovery=Table.of(Recovered, []))) == ""
    several = [tables.recovery.rows[0]] * 3
    told = recovery.recovery_sentence(replace(tables, recovery=Table.of(Recovered, several)))
    assert "of 3 recovered models, SRS came down beyond chance in " in told
