"""``mlxprune show``: one question with all answers, the questions that moved most, and what bad names get."""

import shutil

import pytest
from command_line import done
from kept_texts import keep_texts
from report_study import GRID, write_full_study

from mlx_prune.cli.main import run
from mlx_prune.cli.tables.item import bar
from mlx_prune.runs.records import read_records

SMALL = (GRID[0], GRID[2], ("wanda", 50.0, "2:4"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_full_study(tmp_path_factory.mktemp("study"), items=40, grid=SMALL)
    return folder, keep_texts(folder)


def shown(arguments, capsys, monkeypatch, width=80):
    monkeypatch.setenv("COLUMNS", str(width))
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refused(arguments, capsys):
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 1
    return capsys.readouterr().err


def test_a_study_s_versions_stand_side_by_side_in_80_columns(study, capsys, monkeypatch):
    folder, items = study
    item = items["Age:5"]
    out = shown(["show", folder, "age:5"], capsys, monkeypatch)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Age:5  ambiguous")
    assert item.context in out
    assert item.question in out
    for text in item.answers:
        assert text in out
    for version in ("dense", "random 50 %", "wanda 2:4"):
        assert any(line.startswith(version) for line in lines)


def test_json_holds_the_records_of_every_version(study, capsys):
    folder, items = study
    found = done(["show", folder, "Religion:6"], capsys)
    item = items["Religion:6"]
    assert found["question"]["context"] == item.context
    roles = [option["role"] for option in found["question"]["options"]]
    assert roles[item.unknown_index] == "unknown"
    assert [option["right"] for option in found["question"]["options"]].index(True) == item.label
    assert [one["prune_method"] for one in found["versions"]] == ["dense", "random", "wanda"]
    for one in found["versions"]:
        name = f"{one['prune_method']}-s{one['sparsity']:g}" + ("-2of4" if one["pattern"] else "")
        rows = [
            row
            for row in read_records(folder / "runs" / "alpha" / name).to_pylist()
            if row["item_id"] == "Religion:6"
        ]
        assert {a["seed"]: a["answer"] for a in one["answers"]} == {
            r["seed"]: r["parsed_answer"] for r in rows
        }
        assert one["probabilities"] == {letter: rows[0][f"p_{letter.lower()}"] for letter in "ABC"}
        for answer in one["answers"]:
            assert answer["role"] == (
                None if answer["answer"] is None else roles["ABC".index(answer["answer"])]
            )


def test_a_run_of_a_study_stands_beside_its_dense_one_and_another_may_be_named(study, tmp_path, capsys):
    folder, _ = study
    part = folder / "runs" / "alpha" / "random-s50"
    found = done(["show", part, "Age:5"], capsys)
    assert [one["prune_method"] for one in found["versions"]] == ["dense", "random"]
    alone = shutil.copytree(part, tmp_path / "alone")
    found = done(["show", alone, "Age:5"], capsys)
    assert [one["prune_method"] for one in found["versions"]] == ["random"]
    dense = shutil.copytree(folder / "runs" / "alpha" / "dense-s0", tmp_path / "before")
    moved = done(["show", alone, "--dense", dense], capsys)["moved"]
    assert moved == done(["show", part], capsys)["moved"]
    assert "is a study" in refused(["show", folder, "Age:5", "--dense", dense], capsys)


def test_without_a_question_those_that_moved_most_are_listed_both_ways(study, capsys, monkeypatch):
    folder, items = study
    moved = done(["show", folder, "--most", "2"], capsys)["moved"]
    assert [(one["prune_method"], one["lean"] > 0) for one in moved] == [
        (method, up) for method in ("random", "wanda") for up in (True, True, False, False)
    ]
    assert all(0.1 <= one["distance"] <= 1 for one in moved)
    out = shown(["show", folder, "--most", "1"], capsys, monkeypatch)
    assert max(map(len, out.splitlines())) <= 80
    assert items[moved[0]["item_id"]].context[:20] in out
    assert out.count(moved[0]["item_id"]) == 1


def test_an_unknown_question_names_the_nearest(study, tmp_path, capsys):
    folder, _ = study
    known = [int(one.split(":")[1]) for one in study[1] if one.startswith("Age:")]
    nearest = sorted(known, key=lambda number: abs(number - 9999))[:3]
    expected = ", ".join(f"Age:{number}" for number in nearest)
    assert f"the nearest are {expected}." in refused(["show", folder, "age:9999"], capsys)
    assert "the nearest are" in refused(["show", folder, "nonsense"], capsys)
    assert "neither a run nor a study" in refused(["show", tmp_path, "Age:1"], capsys)
    alone = shutil.copytree(folder / "runs" / "alpha" / "random-s50", tmp_path / "alone")
    assert "has no dense run beside it; name one with --dense" in refused(["show", alone], capsys)


def test_answers_are_shown_where_the_text_is_not_known(study, tmp_path, capsys):
    part = shutil.copytree(study[0] / "runs" / "alpha" / "random-s50", tmp_path / "run")
    (part / "items.parquet").unlink()
    capsys.readouterr()
    assert run(["show", str(part), "Age:5"]) == 0
    captured = capsys.readouterr()
    assert "keeps no texts of its questions" in captured.err
    assert "random 50 %" in captured.out
    assert done(["show", part, "Age:5"], capsys)["question"] is None


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "      "), (1, "██████"), (0.5, "███   "), (0.02, "▏     "), (1.2, "██████")]
)
def test_a_bar_is_as_long_as_its_share_to_an_eighth_of_a_character(share, drawn):
    assert bar(share) == drawn
