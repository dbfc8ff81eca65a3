"""The notebook's way to a study: tables and records as Arrow and pandas, and the documented examples."""

import doctest

import pytest
from kept_texts import keep_texts
from report_study import GRID, write_full_study

import mlx_prune
from mlx_prune.errors import RecordsError
from mlx_prune.report import open as open_module
from mlx_prune.report.open import open_study

SMALL = (GRID[0], GRID[8])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    study = write_full_study(tmp_path_factory.mktemp("studies") / "my-study", items=24, grid=SMALL)
    keep_texts(study)
    return study


def test_the_documented_examples_work(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(mlx_prune, "open_study", open_study, raising=False)
    found = doctest.DocTestFinder().find(open_study, "open_study", open_module)
    assert sum(len(test.examples) for test in found) >= 6
    for test in found:
        result = doctest.DocTestRunner().run(test)
        assert result.failed == 0


def test_arrow_pandas_and_table_agree(folder):
    study = open_study(folder)
    table = study.tables["rates"]
    assert study.arrow("rates").column_names == list(table.columns)
    assert study.pandas("rates")["srs"].tolist() == table.column("srs")


def test_records_are_those_of_the_run(folder):
    study = open_study(str(folder))
    assert study.runs() == ["alpha/dense-s0", "alpha/wanda-s50"]
    records = study.records("alpha/wanda-s50")
    assert set(records["prune_method"].to_pylist()) == {"wanda"}
    assert study.records("alpha/wanda-s50", ["seed"]).column_names == ["seed"]


def test_items_are_the_questions_of_the_records_or_a_sentence_says_why_not(folder, tmp_path):
    items = open_study(folder).items()
    asked = open_study(folder).records("alpha/wanda-s50", ["item_id"])["item_id"].unique()
    assert set(items["item_id"].to_pylist()) >= set(asked.to_pylist())
    assert "an elder & a student" in items["context"][0].as_py()
    without = write_full_study(tmp_path, items=4, grid=SMALL[:1])
    with pytest.raises(RecordsError, match="keeps no texts of its questions"):
        open_study(without).items()


def test_what_the_study_says_of_itself_is_there(folder):
    study = open_study(folder)
    assert study.about.name == "a test study"
    assert study.finding.headline


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda study: study.arrow("rate"), "no table 'rate'"),
        (lambda study: study.records("alpha/wanda-s51"), "no run 'alpha/wanda-s51'"),
        (lambda study: open_study(study.path / "runs"), "holds no runs"),
    ],
)
def test_what_is_not_there_is_named(folder, ask, words):
    with pytest.raises(RecordsError, match=words):
        ask(open_study(folder))
