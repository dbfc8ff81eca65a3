"""The texts of a study's questions are found beside its answers, or at their source, if they are the same."""

import json
from dataclasses import replace

from mlx_prune.bbq.items import load_items
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.items import items_fingerprint, write_items
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.questions import asked_items

TOML = '[grid]\nmethods = ["wanda"]\nsparsities = [50]\n[bbq]\nsource = "{}"\nlimit = 12\n'


def make_study(folder, source="demo", runs=("dense-s0", "wanda-s50"), **asked):
    asked = {"items": items_fingerprint(load_items("demo", limit=12))} | asked
    for name in runs:
        (folder / "runs" / "alpha" / name).mkdir(parents=True)
        about = {"format": 1, "configuration": asked}
        (folder / "runs" / "alpha" / name / "run.json").write_text(json.dumps(about))
    (folder / "study.toml").write_text('models = ["demo"]\n' + TOML.format(source))
    study = StudyFolder(folder)
    return study, study.runs()


def test_texts_kept_beside_one_run_serve_all_that_were_asked_the_same(tmp_path):
    study, runs = make_study(tmp_path, source="/not/there")
    items = load_items("demo", limit=12)
    write_items(runs[1].path, items)
    found = asked_items(runs, study)
    assert (list(found.by_id.values()), found.missing) == (items, "")


def test_the_study_s_source_stands_in_where_its_questions_are_the_same(tmp_path):
    study, runs = make_study(tmp_path)
    found = asked_items(runs, study)
    assert (list(found.by_id.values()), found.missing) == (load_items("demo", limit=12), "")
    assert not list(tmp_path.rglob("items.parquet"))


def test_a_source_that_changed_or_is_gone_gives_no_texts_and_says_why(tmp_path):
    study, runs = make_study(tmp_path / "changed", items="0" * 16)
    changed = asked_items(runs, study)
    gone = asked_items(*reversed(make_study(tmp_path / "gone", source="/not/there")))
    for found in (changed, gone):
        assert found.by_id == {}
        assert "keeps no texts of its questions" in found.missing


def test_a_text_that_differs_between_runs_is_nobody_s(tmp_path):
    study, runs = make_study(tmp_path, source="/not/there")
    items = load_items("demo", limit=12)
    other = [replace(items[0], question="Who?"), *items[1:]]
    write_items(runs[0].path, items)
    write_items(runs[1].path, other)
    about = {"format": 1, "configuration": {"items": items_fingerprint(other)}}
    runs[1].file.write_text(json.dumps(about))
    found = asked_items(study.runs(), study)
    assert list(found.by_id.values()) == items[1:]
    assert f"different questions by the name of {items[0].item_id}" in found.missing


def test_runs_of_other_tools_tell_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    assert asked_items([RunFolder(tmp_path / "run")]).by_id == {}
    assert asked_items([]).missing == ""
