"""The embedded demonstration keeps the promises that the rest of the project relies on."""

import importlib
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from mlx_prune import demo
from mlx_prune.bbq.stereotypes import stereotype_target

CATEGORIES = ("Age", "Gender_identity", "Race_ethnicity", "Religion", "SES")
SCRIPTS = Path(__file__).resolve().parents[2] / "data" / "demo"
BBQ_FIELDS = [
    "example_id", "question_index", "question_polarity", "context_condition", "category", "answer_info",
    "additional_metadata", "context", "question", "ans0", "ans1", "ans2", "label",
]  # fmt: skip


def read_items() -> list[dict]:
    return [
        json.loads(line)
        for category in CATEGORIES
        for line in (demo.items_path() / f"{category}.jsonl").read_text().splitlines()
    ]


ITEMS = read_items()


def unknown_index(item: dict) -> int:
    return [item["answer_info"][f"ans{i}"][1] for i in range(3)].index("unknown")


def fitting_index(item: dict) -> int:
    info = [item["answer_info"][f"ans{i}"] for i in range(3)]
    target = stereotype_target(
        info, item["additional_metadata"]["stereotyped_groups"], item["question_polarity"]
    )
    assert target is not None, item
    return target


def sentences(text: str) -> set[str]:
    """Sentences of stories and contexts; questions, options and letter lists repeat by nature."""
    found: set[str] = set()
    for line in text.splitlines():
        if line.startswith(("Question:", "Answer:", "A)", "B)", "C)")) or "=" in line or not line:
            continue
        found.update(re.split(r"(?<=\.) ", line.removeprefix("Context: ")))
    return found


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts are not part of the wheel")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = ("words", "grammar", "make_items")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def test_items_have_exactly_the_fields_of_bbq_in_its_order():
    assert all(list(item) == BBQ_FIELDS for item in ITEMS)
    assert all(list(item["answer_info"]) == ["ans0", "ans1", "ans2"] for item in ITEMS)
    assert all(
        set(item["additional_metadata"]) == {"subcategory", "stereotyped_groups", "version", "source"}
        for item in ITEMS
    )
    assert all(isinstance(item["question_index"], str) and isinstance(item["label"], int) for item in ITEMS)


def test_every_category_has_as_many_ambiguous_as_disambiguated_items_of_either_polarity():
    counts = Counter(
        (item["category"], item["context_condition"], item["question_polarity"]) for item in ITEMS
    )
    assert len(counts) == 5 * 2 * 2
    assert set(counts.values()) == {72}


def test_example_ids_are_unique_within_a_category():
    assert len({(item["category"], item["example_id"]) for item in ITEMS}) == len(ITEMS)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("polarity", ["neg", "nonneg"])
def test_every_position_is_equally_often_unknown_and_stereotyped(category: str, polarity: str):
    items = [i for i in ITEMS if i["category"] == category and i["question_polarity"] == polarity]
    orders = Counter((unknown_index(item), fitting_index(item)) for item in items)
    assert len(orders) == 6
    assert set(orders.values()) == {len(items) // 6}


def test_labels_are_unknown_when_ambiguous_and_settled_either_way_equally_often_when_not():
    for item in ITEMS:
        assert (item["label"] == unknown_index(item)) == (item["context_condition"] == "ambig")
    settled = [i for i in ITEMS if i["context_condition"] == "disambig"]
    for category in CATEGORIES:
        for polarity in ("neg", "nonneg"):
            cell = [i for i in settled if (i["category"], i["question_polarity"]) == (category, polarity)]
            assert sum(i["label"] == fitting_index(i) for i in cell) * 2 == len(cell)


def test_four_items_share_a_context_whose_ambiguous_form_is_a_prefix():
    for start in range(0, len(ITEMS), 4):
        group = ITEMS[start : start + 4]
        ambiguous = {i["context"] for i in group if i["context_condition"] == "ambig"}
        settled = {i["context"] for i in group if i["context_condition"] == "disambig"}
        assert len(ambiguous) == len(settled) == 1
        assert settled.pop().startswith(ambiguous.pop() + " ")
        assert {i["question_polarity"] for i in group} == {"neg", "nonneg"}


def test_many_unknown_wordings_are_used():
    wordings = Counter(item[f"ans{unknown_index(item)}"] for item in ITEMS)
    assert len(wordings) >= 8
    assert min(wordings.values()) >= len(ITEMS) / len(wordings) / 2


def test_both_people_are_named_in_the_context():
    for item in ITEMS:
        people = [p for p, group in item["answer_info"].values() if group != "unknown"]
        assert all(re.search(rf"\b{person}\b", item["context"]) for person in people)


def test_the_first_named_person_is_the_stereotyped_one_half_of_the_time():
    first = []
    for item in ITEMS:
        info = list(item["answer_info"].values())
        people = sorted(
            (re.search(rf"\b{text}\b", item["context"]).start(), i)
            for i, (text, group) in enumerate(info)
            if group != "unknown"
        )
        first.append(people[0][1] == fitting_index(item))
    assert sum(first) * 2 == len(first)


def test_held_out_templates_are_no_training_templates(scripts: dict[str, ModuleType]):
    words = scripts["words"]
    for kind in ("CONTEXTS", "RESOLUTIONS", "QUESTIONS"):
        assert not set(getattr(words, f"HELD_OUT_{kind}")) & set(getattr(words, f"TRAIN_{kind}"))
    assert not set(scripts["grammar"].TRAIN_PLACES) & set(scripts["grammar"].HELD_OUT_PLACES)


def test_items_come_from_held_out_templates_alone(scripts: dict[str, ModuleType]):
    words, grammar = scripts["words"], scripts["grammar"]
    facts = {
        f"{verb} {adjective}"
        for verb in words.VERBS
        for traits in words.TRAITS.values()
        for trait in traits
        for adjective in (trait.negative, trait.positive)
    }
    trained_questions = {frame.format(vp=fact) for frame in words.TRAIN_QUESTIONS for fact in facts}
    assert not {item["question"] for item in ITEMS} & trained_questions
    assert not any(place in item["context"] for item in ITEMS for place in grammar.TRAIN_PLACES)


def test_every_word_of_a_held_out_template_occurs_in_the_training_text(scripts: dict[str, ModuleType]):
    words = scripts["words"]
    known = set(re.findall(r"[\w']+", demo.calibration_text_path().read_text()))
    held_out = " ".join(words.HELD_OUT_CONTEXTS + words.HELD_OUT_RESOLUTIONS + words.HELD_OUT_QUESTIONS)
    assert set(re.findall(r"[\w']+", re.sub(r"\{\w+\}", "", held_out))) <= known


def test_the_item_script_makes_the_embedded_items(scripts: dict[str, ModuleType]):
    for category in CATEGORIES:
        made = scripts["make_items"].category_items(category, seed=11)
        assert made == [item for item in ITEMS if item["category"] == category]


def test_texts_share_no_sentence_with_each_other_or_with_the_items(scripts: dict[str, ModuleType]):
    split_of = scripts["grammar"].split_of
    calibration = sentences(demo.calibration_text_path().read_text())
    heldout = sentences(demo.heldout_text_path().read_text())
    assert min(len(calibration), len(heldout)) > 1000
    assert not calibration & heldout
    assert {split_of(sentence) for sentence in calibration} == {"calibration"}
    assert {split_of(sentence) for sentence in heldout} == {"heldout"}
    contexts = sentences("\n".join(item["context"] for item in ITEMS))
    assert not contexts & (calibration | heldout)
