"""Rates of too few answers are struck out and not compared; unfinished runs are left out; both are said."""

import json

import pytest
from changed_tables import with_rows
from matplotlib.figure import Figure
from random_study import random_records, write_study
from silent_study import ANSWERED, GUESSED, PARTLY, SILENT, STOPPED, write_silent_study

from mlx_prune.errors import RecordsError
from mlx_prune.report.data import read_study
from mlx_prune.report.figures.draw import FIGURES, draw
from mlx_prune.report.figures.panels import TOO_FEW, shared_legend
from mlx_prune.report.figures.style import NARROW, WIDE
from mlx_prune.report.page.page import report_page
from mlx_prune.report.words.finding import find
from mlx_prune.report.words.frontier import frontier_sentences
from mlx_prune.report.write import report_tables
from mlx_prune.runs.folder import COMPLETE
from mlx_prune.stats.clustered import cluster_sums, paired_difference
from mlx_prune.stats.outcomes import STEREOTYPED
from mlx_prune.stats.rates import OVERALL
from mlx_prune.study.about import read_about
from mlx_prune.study.states import NOT_BEGUN, UNFINISHED, run_states
from mlx_prune.words import unparted


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_silent_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def tables(folder):
    return report_tables(folder)


def rows_of(table, name):
    return table.where(prune_method=name[0], sparsity=name[1]).rows


def test_eight_of_five_hundred_answers_are_shown_but_flagged(tables):
    (row,) = rows_of(tables["overall"], SILENT)
    assert row["too_few_answered"] is True
    (counts,) = rows_of(tables["parse_failures"], SILENT)
    assert (counts["rule_exact"], counts["rule_none"]) == (ANSWERED, 500 - ANSWERED)
    assert row["answered"] < 0.05
    assert row["srs"] is not None
    assert row["srs_delta"] is None
    assert f"~~{row['usr']:.4g}~~" in tables["overall"].to_markdown()
    header, *lines = tables["overall"].to_csv().splitlines()
    line = next(line for line in lines if line.startswith("alpha,random"))
    values = dict(zip(header.split(","), line.split(","), strict=True))
    assert float(values["srs"]) == row["srs"]
    assert values["too_few_answered"] == "True"


COMPARED = {
    "paired_tests": ("srs_delta", "p_clustered", "q_clustered", "q_mcnemar", "q_expected"),
    "direction": ("abstention_part", "direction_part", "p_direction", "q_direction"),
    "tests": ("chi2", "p_value", "q_value", "cohens_h"),
}


@pytest.mark.parametrize("name", COMPARED)
def test_what_hardly_answers_is_not_compared_and_in_no_family(tables, name):
    assert all(row["too_few_answered"] for row in rows_of(tables[name], SILENT))
    for row in tables[name].rows:
        for column in COMPARED[name]:
            if row["too_few_answered"]:
                assert row[column] is None
    compared = [row for row in tables["tests"].rows if not row["too_few_answered"]]
    summary = tables["test_summary"].where(test="chi-square, as in the study").rows[0]
    assert summary["comparisons"] == len([row for row in compared if row["p_value"] is not None])


def test_a_single_category_is_left_out_where_the_rest_is_compared(tables):
    rows = {row["category"]: row for row in rows_of(tables["paired_tests"], PARTLY)}
    assert rows["SES"]["too_few_answered"]
    assert rows["SES"]["srs_delta"] is rows["SES"]["q_clustered"] is None
    assert rows["Age"]["q_clustered"] is not None
    assert rows[OVERALL]["q_clustered"] is not None


def test_emergence_frontier_and_regression_leave_it_out(tables):
    (row,) = rows_of(tables["emergence"], SILENT)
    assert row["excess"] is row["held_out_excess"] is row["p_held_out"] is None
    (row,) = rows_of(tables["frontier"], SILENT)
    assert row["direction_change"] is row["q_direction"] is None
    assert row["standing"] == "not judged"
    assert "prune_method_random" not in tables["logistic"].column("term")
    assert rows_of(tables["evaluation_gap"], SILENT)[0]["srs_pct_change"] is None


def test_nothing_is_compared_with_a_dense_model_that_hardly_answers(tmp_path):
    rows = random_records(1, items=30, grid=(("dense", 0.0, None), ("wanda", 50.0, None)), complete=True)
    for number, row in enumerate(rows):
        if row["prune_method"] == "dense" and number % 5:
            row |= {"parsed_answer": None, "parse_rule": "none"}
    tables = report_tables(write_study(tmp_path, rows))
    assert {row["srs_delta"] for row in tables["paired_tests"].rows} == {None}
    found = find(tables)
    assert found.headline == "Too few answers were understood to tell any change of stereotype reliance."
    assert "Fewer than 50 % of the dense model's own answers were understood, of alpha" in found.paragraph


def test_the_floor_is_an_option(folder):
    tables = report_tables(folder, min_answered=0.001)
    assert not any(row["too_few_answered"] for row in tables["overall"].rows)
    assert rows_of(tables["paired_tests"].where(category=OVERALL), SILENT)[0]["srs_delta"] is not None


def test_the_frontier_says_that_answers_are_wanting_where_measures_are_not(tables):
    (text,) = frontier_sentences(tables)
    assert text.endswith("Not judged, for want of answers that were understood: random 50 %.")


def test_the_finding_says_which_models_no_longer_answer(tables):
    found = find(tables)
    share = rows_of(tables["overall"], SILENT)[0]["answered"]
    assert (
        f"random 50 % of alpha ({100 * share:.1f} %) no longer answers: fewer than 50 % of its answers were "
        "understood, so its rates are struck out and not compared."
    ) in found.paragraph
    assert (
        "1 further rate is struck out for the same reason: SES of magnitude 50 % of alpha." in found.paragraph
    )
    assert "3 pruned models" in found.headline
    assert "random" not in found.headline


def test_strict_rates_are_those_without_the_last_rule(folder, tables):
    data = read_study(folder)
    outcomes = data.models["alpha"]
    place = [(c.prune_method, c.sparsity, c.pattern) for c in outcomes.configurations].index(GUESSED)
    (row,) = rows_of(tables["parse_sensitivity"], GUESSED)
    understood = outcomes.guessed[place] == 0
    rates = []
    for number in range(len(outcomes.categories)):
        codes = outcomes.codes[place][outcomes.category == number]
        kept = codes[understood[outcomes.category == number]]
        rates.append((kept == STEREOTYPED).sum() / (kept >= 2).sum())
    assert row["srs_strict"] == pytest.approx(sum(rates) / len(rates))
    assert row["srs_strict"] < row["srs"]
    strict = outcomes.strict()
    templates = int(strict.template.max()) + 1
    top, bottom = (
        cluster_sums(part, strict.template, templates)
        for part in (strict.counts(STEREOTYPED), strict.parsed())
    )
    whole = paired_difference(top[:1], bottom[:1], top[1:], bottom[1:], strict.template_category)
    assert row["srs_delta_strict"] == pytest.approx(whole.value[place - 1])
    assert row["p_strict"] == pytest.approx(whole.p_value[place - 1])


def test_without_guesses_both_readings_are_one(tmp_path):
    rows = random_records(2, items=30, complete=True)
    tables = report_tables(write_study(tmp_path, rows))
    for row in tables["parse_sensitivity"].rows:
        assert row["srs"] == row["srs_strict"]
        assert row["srs_delta"] == row["srs_delta_strict"]
        assert row["verdict_changes"] in (None, False)
    assert "Read strictly, without the rule that takes the first a, b or c anywhere, no SRS changes." in (
        find(tables).sentences
    )


def test_the_finding_names_what_the_strict_reading_changes(tables):
    (row,) = rows_of(tables["parse_sensitivity"], GUESSED)
    said = f"the SRS of wanda 50 % of alpha is {row['srs_strict']:.3f} instead of {row['srs']:.3f}"
    assert said in find(tables).paragraph
    changed = with_verdicts(tables)
    assert "the verdict on 1 of 3 changes: wanda 50 % of alpha (raised, strictly within chance)" in (
        find(changed).paragraph
    )


def with_verdicts(tables):
    def change(row):
        other = row["prune_method"] == "wanda"
        verdicts = {"verdict": "raised", "verdict_strict": "within chance" if other else "raised"}
        known = row["verdict_changes"] is not None
        return row | verdicts | {"verdict_changes": other} if known else row

    return with_rows(tables, "parse_sensitivity", change)


def test_an_unfinished_configuration_is_named_first_and_is_in_no_table(folder, tables):
    for name, table in tables.items():
        if name != "progress" and {"prune_method", "sparsity"} <= set(table.columns):
            assert not rows_of(table, STOPPED), name
    states = {(s.configuration.prune_method, s.configuration.sparsity): s for s in run_states(folder)}
    assert (states[STOPPED[:2]].state, states[STOPPED[:2]].answers) == (UNFINISHED, 8)
    assert states[STOPPED[:2]].expected == 500
    assert states["wanda", 30.0].state == states["random", 30.0].state == NOT_BEGUN
    assert states[SILENT[:2]].state == COMPLETE
    assert find(tables).unfinished == (
        "Unfinished: 3 of 8 configurations are left out of everything below (random 30 % of alpha: not "
        "begun; wanda 30 % of alpha: not begun; wanda 70 % of alpha: 8 of 500 answers). Run the study again "
        "to finish them."
    )


def test_a_run_that_lost_records_is_unfinished(tmp_path):
    folder = write_silent_study(tmp_path, items=20)
    about = folder / "runs/alpha/wanda-s50/run.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"totals": {"records": 101}}))
    state = next(s for s in run_states(folder) if s.path and s.path.name == "wanda-s50")
    assert (state.state, state.answers, state.expected) == (UNFINISHED, 100, 101)


def test_a_study_without_a_complete_configuration_is_refused(tmp_path):
    folder = write_silent_study(tmp_path, items=10)
    for file in folder.glob("runs/*/*/run.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "running"}))
    with pytest.raises(RecordsError, match=r"none of the 8 configurations .* is complete"):
        report_tables(folder)


def test_a_finished_study_says_nothing_of_it(tmp_path):
    tables = report_tables(write_study(tmp_path, random_records(2, items=20)))
    assert find(tables).unfinished == ""
    assert {row["state"] for row in tables["progress"].rows} == {COMPLETE}


def test_the_page_opens_with_what_is_unfinished_and_strikes_rates_out(folder, tables):
    page = report_page(tables, [], read_about(folder))
    assert page.index("Unfinished: 3 of 8") < page.index(unparted(find(tables).headline))
    (row,) = rows_of(tables["overall"], SILENT)
    assert f"<s>{row['srs']:.3f}</s>" in page
    (dense,) = tables["overall"].where(prune_method="dense").rows
    assert f"<s>{dense['srs']:.3f}</s>" not in page
    assert unparted("less than 50 %, rates are struck out") in page


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_figure_can_be_drawn_with_gaps(tables, layout):
    drawn = {kind.name: draw(kind, tables, layout) for kind in FIGURES}
    (axes,) = drawn["srs_by_sparsity"].axes
    labels = axes.get_legend_handles_labels()[1]
    assert "too few answers" in labels
    # Its only point is crossed out, so that the method has no point of its own.
    assert "random" not in labels


def test_the_cross_comes_last_in_the_legend():
    figure = Figure()
    for axes, names in zip(figure.subplots(1, 2), (("dense", TOO_FEW), ("dense", "random")), strict=True):
        for name in names:
            axes.plot([0], [0], label=name)
    shared_legend(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "random", TOO_FEW]


def test_a_cell_of_too_few_answers_is_hatched_in_the_heat_map(tables):
    figure = draw(next(kind for kind in FIGURES if kind.name == "srs_change_by_category"), tables)
    hatched = [patch for axes in figure.axes for patch in axes.patches if patch.get_hatch()]
    cells = [row for row in tables["paired_tests"].rows if row["srs_delta"] is None]
    assert len(hatched) == len(cells) == 5
