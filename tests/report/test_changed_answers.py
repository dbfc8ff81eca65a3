"""Answers that changed: whom they show, that texts cannot become markup, and that the page stays small."""

import json
import re
from dataclasses import replace

import pytest
from kept_texts import keep_texts
from page_parts import Outline
from report_study import GRID, write_full_study

from mlx_prune.report.changed import MOST, ChangedAnswers, changed_answers
from mlx_prune.report.data import read_study
from mlx_prune.report.page.answers import ROLES, options, role_of, said
from mlx_prune.report.page.page import answers_part, report_page
from mlx_prune.report.tables.build import build_tables
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.item_answers import answers_to
from mlx_prune.study.about import read_about

SMALL = (GRID[0], GRID[2], ("wanda", 70.0, None))
ROOM = 1_000_000


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_full_study(tmp_path_factory.mktemp("study"), items=80, grid=SMALL)
    items = keep_texts(folder)
    data = read_study(folder)
    return folder, items, data, changed_answers(data)


def test_questions_of_both_directions_and_every_category_are_chosen(study):
    _, items, data, changed = study
    assert [by.configuration for by in changed.by] == list(data.models["alpha"].configurations[1:])
    for by in changed.by:
        assert {one.item.category for one in by.items} == {"Age", "Religion", "SES"}
        assert {one.lean > 0 for one in by.items} == {True, False}
        assert all(one.item == items[one.item.item_id] for one in by.items)
        for category in ("Age", "Religion", "SES"):
            for up in (True, False):
                mine = [o for o in by.items if o.item.category == category and (o.lean > 0) == up]
                assert [one.rank for one in mine] == list(range(len(mine)))
                assert len(mine) <= MOST
                assert sorted(mine, key=lambda one: -one.distance) == mine
    assert changed.missing == ""


def test_both_sides_are_what_the_records_hold(study):
    folder, _, _, changed = study
    one, by = changed.by[1].items[0], changed.by[1]
    for side, name in ((one.dense, "dense-s0"), (one.now, by.configuration.folder)):
        rows = RunFolder(folder / "runs" / "alpha" / name).records().to_pylist()
        mine = sorted((r for r in rows if r["item_id"] == one.item.item_id), key=lambda r: r["seed"])
        assert [(a.seed, a.response) for a in side.answers] == [(r["seed"], r["raw_response"]) for r in mine]
        assert side.probabilities == tuple(mine[0][name] for name in ("p_a", "p_b", "p_c"))
    total = sum(abs(a - b) for a, b in zip(one.dense.probabilities, one.now.probabilities, strict=True))
    assert one.distance == pytest.approx((total + abs(one.dense.elsewhere - one.now.elsewhere)) / 2, abs=1e-6)


def test_answers_of_other_questions_are_not_read(study):
    folder, _, _, _ = study
    assert answers_to(RunFolder(folder / "runs" / "alpha" / "dense-s0"), ["Age:0", "Age:no"]).keys() <= {
        "Age:0"
    }


def test_a_card_shows_roles_probabilities_and_what_was_said(study):
    *_, changed = study
    one = changed.by[1].items[0]
    shown = options(one)
    assert [option.letter for option in shown] == ["A", "B", "C", ""]  # letters hold 97 %
    assert sorted(option.role for option in shown[:3]) == sorted(ROLES)
    assert sum(option.now for option in shown) == pytest.approx(100)
    place = one.item.stereotype_target_index
    assert ROLES[role_of(one, place)] == "stereotyped"
    answer = one.now.answers[0]
    spoken = replace(one.now, answers=(replace(answer, response=" B. The\nelder", option=1),))
    twice = replace(spoken, answers=(*spoken.answers * 2, replace(answer, response="A", option=0)))
    assert [answer.text for answer in said(one, twice)] == ["2 × “B. The elder” B", "A"]
    silent = replace(one.now, answers=(replace(answer, response="um", option=None),))
    assert said(one, spoken)[0].text == "“B. The elder” B"
    assert (said(one, silent)[0].text, said(one, silent)[0].style) == ("“um” –", "n")


def test_the_section_is_sound_markup_and_escapes_texts(study):
    folder, _, _, changed = study
    html = answers_part(changed, read_about(folder), ROOM)
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    assert "The &lt;b&gt;elder&lt;/b&gt;" in html
    assert "an elder &amp; a student" in html
    assert html.count("<article") == sum(len(by.items) for by in changed.by)
    assert html.count("More to the stereotype") == html.count("Less to the stereotype") == 6
    assert "CC BY 4.0" in html


def test_as_many_cards_are_shown_as_there_is_room_for_the_farthest_first(study):
    folder, _, _, changed = study
    about = read_about(folder)
    whole = len(answers_part(changed, about, ROOM).encode())
    for room in (whole // 2, whole // 4):
        html = answers_part(changed, about, room + 20_000)
        assert len(html.encode()) <= room + 20_000
        shown = set(re.findall(r"<h5>([^<]+)<", html))
        ranks = [one.rank for by in changed.by for one in by.items if one.item.item_id in shown]
        assert 0 in ranks
        assert max(ranks) < MOST - 1
    assert "<article" not in answers_part(changed, about, 0)


def test_a_page_holds_the_section_and_its_link(study):
    folder, _, data, changed = study
    page = report_page(build_tables(data), [], read_about(folder), changed)
    assert page.index('id="categories"') < page.index('<section id="answers">') < page.index('id="tables"')
    assert '<a href="#answers">' in page
    assert "<!-- answers -->" not in page
    without = report_page(build_tables(data), [], read_about(folder), ChangedAnswers(()))
    assert 'id="answers"' not in without
    assert "#answers" not in without.split("</style>")[1]


def test_texts_that_are_gone_or_differ_leave_the_section_out_and_say_so(tmp_path):
    folder = write_full_study(tmp_path, items=20, grid=SMALL)
    keep_texts(folder)
    for run in folder.glob("runs/*/*"):
        about = json.loads((run / "run.json").read_text())
        about["configuration"]["items"] = "0" * 16
        (run / "run.json").write_text(json.dumps(about))
    html = answers_part(changed_answers(read_study(folder)), read_about(folder), ROOM)
    assert "holds other questions than" in html
    assert "<article" not in html
    for file in folder.rglob("items.parquet"):
        file.unlink()
    html = answers_part(changed_answers(read_study(folder)), read_about(folder), ROOM)
    assert "keeps no texts of its questions" in html
    assert "CC BY" not in html


def test_models_of_too_few_answers_are_named_and_left_out(study):
    folder, _, data, changed = study
    last = data.rates(changed.by[-1].configuration, "overall").answered
    demanding = changed_answers(read_study(folder, min_answered=last + 1e-6))
    assert [one.name for one in demanding.silent] == ["wanda 70 %"]
    html = answers_part(demanding, read_about(folder), ROOM)
    assert "too few answers were understood: wanda 70\u00a0%." in html
    assert "<summary>wanda" not in html
    nothing = changed_answers(read_study(folder, min_answered=1.0))
    html = answers_part(nothing, read_about(folder), ROOM)
    assert "Too few answers were understood" in html
    assert "<details" not in html
