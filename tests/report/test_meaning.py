"""What a finding means for a release follows from the tables, whichever way they point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from changed_tables import with_rows
from report_study import GRID, write_full_study
from silent_study import write_silent_study

from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.table import Table
from mlx_prune.report.words.finding import find
from mlx_prune.report.write import report_tables

SMALL = (*GRID[:1], *GRID[7:])  # dense, and Wanda at 10, 50 and 70 %


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return report_tables(write_full_study(tmp_path_factory.mktemp("study"), items=45, grid=SMALL))


def changed(tables: Tables, deltas: dict[int, float], perplexity: float = 3.0, leaning: float = 0.01) -> str:
    """The meaning where SRS changed by so much, beyond chance, at these sparsities, and nowhere else."""

    def paired(row: dict) -> dict:
        value = deltas.get(int(row["sparsity"]), 0.0)
        q = 0.01 if value else 0.5
        return row | {"srs_delta": value, "srs_delta_low": -0.01, "srs_delta_high": 0.2, "q_clustered": q}

    found = with_rows(tables, "paired_tests", paired)
    found = with_rows(found, "evaluation_gap", lambda row: row | {"ppl_pct_change": perplexity})
    ends = {"direction_part": leaning, "direction_part_low": leaning, "direction_part_high": leaning + 0.1}
    return " ".join(find(with_rows(found, "direction", lambda row: row | ends)).meaning)


def test_rises_that_perplexity_misses_are_named_with_the_check_that_sees_them(tables: Tables) -> None:
    said = changed(tables, {50: 0.03, 70: 0.05})
    assert "wanda 50 % and wanda 70 % give the stereotyped answer more often" in said
    assert "Of these, wanda 50 % and wanda 70 % lean further towards the stereotype." in said
    assert "lets perplexity rise by 10 % would have passed wanda 50 % and wanda 70 %" in said
    assert "`mlxprune gate`" in said
    assert "For the other one, no change was shown; that does not prove that there is none." in said


def test_one_rise_without_a_leaning_is_told_in_the_singular(tables: Tables) -> None:
    said = changed(tables, {70: 0.05}, perplexity=300.0, leaning=-0.01)
    assert "wanda 70 % gives the stereotyped answer more often" in said
    assert "It guesses more often, with no further leaning that could be shown." in said
    assert "would have stopped it here" in said
    assert "For the other 2, no change was shown" in said


def test_nothing_is_said_of_a_perplexity_that_was_not_measured(tables: Tables) -> None:
    bare = replace(tables, evaluation_gap=Table(tables.evaluation_gap.row_type, ()))
    without = with_rows(bare, "paired_tests", lambda row: row | {"srs_delta": 0.05, "q_clustered": 0.01})
    assert "perplexity" not in " ".join(find(without).meaning)


def test_no_effect_is_no_proof_of_none(tables: Tables) -> None:
    said = changed(tables, {})
    assert said.startswith("These questions show no change of stereotyped answers in any of the 3 pruned")
    assert "does not prove that there is none" in said
    assert "perplexity" not in said


def test_a_fall_is_not_called_a_gain(tables: Tables) -> None:
    said = changed(tables, {50: -0.05})
    assert "wanda 50 % gives the stereotyped answer less often than before" in said
    assert "no gain in fairness" in said
    assert "more often" not in said


def test_models_that_no_longer_answer_are_said_to_be_unknown(tmp_path: Path) -> None:
    said = " ".join(find(report_tables(write_silent_study(tmp_path))).meaning)
    assert "random 50 % mostly gives no answer that is understood" in said
    assert "cannot be told" in said


def test_where_all_are_struck_out_nothing_else_is_claimed(tables: Tables) -> None:
    nothing = with_rows(tables, "paired_tests", lambda row: row | {"srs_delta": None, "q_clustered": None})

    def silent(row: dict) -> dict:
        return row | {"too_few_answered": row["prune_method"] != "dense"}

    (said,) = find(with_rows(nothing, "overall", silent)).meaning
    assert said.startswith("wanda 10 %, wanda 50 % and wanda 70 % mostly give no answer")
    (said,) = find(with_rows(nothing, "overall", lambda row: row | {"too_few_answered": True})).meaning
    assert "not understood before pruning either" in said
    (said,) = find(nothing).meaning
    assert "too few questions" in said


def test_dense_or_pruned_models_alone_decide_nothing(tables: Tables) -> None:
    none = replace(tables, paired_tests=Table(tables.paired_tests.row_type, ()))
    rows = tables.overall.rows
    for kept, words in ((True, "No pruned model was asked"), (False, "before the model they were made from")):
        left = tuple(row for row in rows if row.configuration.is_dense is kept)
        (said,) = find(replace(none, overall=Table(tables.overall.row_type, left))).meaning
        assert words in said
