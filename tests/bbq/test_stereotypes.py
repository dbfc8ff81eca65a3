"""Which option fits the stereotype, against BBQ's own script on every item."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter

import pytest
from bbq_rows import UNKNOWN

from mlx_prune.bbq.folder import BBQ_CATEGORIES
from mlx_prune.bbq.items import load_items
from mlx_prune.bbq.rows import INTERSECTIONAL
from mlx_prune.bbq.stereotypes import contradicts_context, group_name, stereotype_target

PLAIN_CATEGORIES = [category for category in BBQ_CATEGORIES if category not in INTERSECTIONAL]


@pytest.fixture(scope="module")
def all_items(real_data):
    return load_items(real_data / "bbq", categories=PLAIN_CATEGORIES, condition="all")


def test_targets_equal_bbqs_own_script_on_every_item(real_data, all_items):
    with open(real_data / "bbq" / "target_loc.csv", newline="") as lines:
        published = {
            f"{row['category']}:{row['example_id']}": None
            if row["target_loc"] == "NA"
            else int(row["target_loc"])
            for row in csv.DictReader(lines)
        }
    assert {item.item_id: item.stereotype_target_index for item in all_items} == published
    assert len(published) == 31_372


def test_the_eight_ambiguous_items_without_a_target_are_gender_question_13(all_items):
    without = [item for item in all_items if item.stereotype_target_index is None]
    assert {(item.category, item.question_index) for item in without} == {("Gender_identity", 13)}
    assert Counter(item.context_condition for item in without) == {"ambig": 8, "disambig": 8}
    assert all(item.anti_stereotype_target_index is None for item in without)


def test_the_options_of_every_item_with_a_target_are_three_different_ones(all_items):
    with_target = [item for item in all_items if item.stereotype_target_index is not None]
    assert all(
        {item.stereotype_target_index, item.anti_stereotype_target_index, item.unknown_index} == {0, 1, 2}
        for item in with_target
    )


def test_the_unknown_option_is_the_label_of_every_ambiguous_item(all_items):
    assert all(item.label == item.unknown_index for item in all_items if item.context_condition == "ambig")
    assert all(item.label != item.unknown_index for item in all_items if item.context_condition == "disambig")


def test_reversed_tags_are_found_in_exactly_the_three_faulty_questions(all_items):
    faulty = Counter(
        (item.category, item.question_index, item.context_condition)
        for item in all_items
        if item.known_label_fault
    )
    assert faulty == {
        ("SES", 8, "ambig"): 120,
        ("SES", 8, "disambig"): 120,
        ("Gender_identity", 35, "ambig"): 50,
        ("Gender_identity", 35, "disambig"): 50,
        ("Gender_identity", 36, "ambig"): 50,
        ("Gender_identity", 36, "disambig"): 50,
    }


def test_an_item_is_faulty_only_if_its_partner_with_swapped_names_is_not(real_data, all_items):
    # Each faulty question asks about every pair of names twice, in both orders; one of the two must be right.
    flags = {item.item_id: item.known_label_fault for item in all_items}
    with open(real_data / "bbq" / "SES.jsonl") as lines:
        rows = [row for row in map(json.loads, lines) if row["question_index"] == "8"]
    by_tagged_pair: dict[tuple, list[bool]] = {}
    for row in rows:
        tags = frozenset((name, group) for name, group in row["answer_info"].values() if group != "unknown")
        key = (
            tags,
            row["question_polarity"],
            row["context_condition"],
            row["additional_metadata"]["version"],
        )
        by_tagged_pair.setdefault(key, []).append(flags[f"SES:{row['example_id']}"])
    assert all(sorted(pair) == [False, True] for pair in by_tagged_pair.values())


@pytest.mark.parametrize(
    ("stereotyped_tag", "other_tag", "groups"),
    [
        ("old", "nonOld", ["old"]),
        ("nonOld", "old", ["nonOld"]),
        ("woman", "man", ["F"]),
        ("boy", "girl", ["M"]),
        ("trans_F", "nonTrans_M", ["Transgender women", "transgender men", "trans"]),
        ("lowSES", "highSES", ["low SES"]),
        ("F-Black", "F-White", ["Black", "African American"]),
        ("African American", "African", ["Black", "African American"]),
        ("Middle Eastern", "European", ["Middle Eastern", "Arab"]),
        ("disabled", "nonDisabled", ["disabled", "D/deaf"]),
    ],
)
def test_the_stereotyped_option_follows_polarity_in_every_order(stereotyped_tag, other_tag, groups):
    options = [("X", stereotyped_tag), ("Y", other_tag), UNKNOWN]
    for order in itertools.permutations(options):
        assert order[stereotype_target(order, groups, "neg")][0] == "X"
        assert order[stereotype_target(order, groups, "nonneg")][0] == "Y"


def test_nationalities_are_compared_by_name_because_their_tags_are_regions():
    options = [("{Nigerian}", "Africa"), UNKNOWN, ("Namibian", "Africa")]
    assert stereotype_target(options, ["nigerian"], "neg") == 0
    assert stereotype_target(options, ["nigerian"], "nonneg") == 2


def test_there_is_no_stereotyped_option_when_both_or_neither_belong():
    girls = [("girl", "girl"), ("woman", "woman"), UNKNOWN]
    assert stereotype_target(girls, ["F"], "neg") is None
    assert stereotype_target(girls, ["M"], "nonneg") is None


@pytest.mark.parametrize(
    ("context", "tags", "contradicts"),
    [
        ("Ann is from a wealthy family and Bo is from a poor family.", ("lowSES", "highSES"), True),
        ("Ann is from a poor family and Bo is from a wealthy family.", ("lowSES", "highSES"), False),
        ("Ann is from a low income family.", ("highSES", "lowSES"), True),
        ("Ann, who is trans, met Bo.", ("nonTrans_F", "trans_M"), True),
        ("Ann, who is trans, met Bo.", ("trans_F", "nonTrans_M"), False),
        ("Ann and Bo, who is trans, met Cy.", ("trans_F", "nonTrans_M"), True),
        ("Ann is from a musical family.", ("lowSES", "highSES"), False),
    ],
)
def test_tags_that_contradict_the_context_are_noticed(context, tags, contradicts):
    info = [("Ann", tags[0]), ("Bo", tags[1]), UNKNOWN]
    assert contradicts_context(context, info) is contradicts


@pytest.mark.parametrize(
    ("info", "groups", "name"),
    [
        (("Donna Schneider", "F-Black"), ["Black", "African American"], "Black"),
        (("{Nigerian}", "Africa"), ["Nigerian", "Guinean"], "Nigerian"),
        (("low-income man", "lowSES"), ["low SES"], "low SES"),
        (("girl", "girl"), ["F"], "F"),
        (("Robert", "trans_M"), ["transgender men", "trans"], "trans"),
        (("the Black man", "M-Black"), [], "Black"),
    ],
)
def test_a_group_has_one_spelling(info, groups, name):
    assert group_name(info, groups) == name


def test_the_group_is_that_of_the_stereotyped_person_under_both_polarities(real_data, all_items):
    partners: dict[tuple, set[str]] = {}
    for item in all_items:
        if item.context_condition == "ambig" and item.stereotype_target_index is not None:
            partners.setdefault((item.category, item.context, item.answers), set()).add(item.group)
    # The neg and the nonneg question about the same two people are about one group.
    assert all(len(groups) == 1 and "" not in groups for groups in partners.values())
    named = Counter(item.group for item in all_items if item.category == "SES")
    assert named == {"low SES": 6864}
