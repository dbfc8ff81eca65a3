"""Rates of social groups equal loops over records, and their changes those of a study of that group alone."""

import numpy as np
import pytest
from random_study import LETTERS, random_records, run_outcomes, usable

from mlx_prune.configuration import Configuration
from mlx_prune.stats.clustered import clustered_wilson
from mlx_prune.stats.compare import compare
from mlx_prune.stats.groups import by_group
from mlx_prune.stats.outcomes import assemble


@pytest.fixture(scope="module")
def made():
    rows = random_records(11, items=90)
    named = {r["item_id"]: ("east", "west", "")[int(r["item_id"].split(":")[1]) // 30] for r in rows}
    outcomes = assemble(run_outcomes(rows))
    return rows, named, outcomes.configurations, list(by_group(outcomes, named))


def test_every_group_of_every_category_is_there_once(made):
    *_, found = made
    names = [(one.category, one.group) for one in found]
    assert names == [(c, g) for c in ("Age", "Religion", "SES") for g in ("east", "west")]


def test_rates_equal_loops_over_records(made):
    rows, named, order, found = made
    for one in found:
        for number, configuration in enumerate(order):
            mine = [
                r
                for r in usable(rows)
                if Configuration.of(r) == configuration
                and r["category"] == one.category
                and named[r["item_id"]] == one.group
            ]
            parsed = [r for r in mine if r["parsed_answer"]]
            hits = [LETTERS.index(r["parsed_answer"]) == r["stereotype_target_index"] for r in parsed]
            assert one.items[number] == len({r["item_id"] for r in mine})
            assert one.parsed[number] == len(parsed)
            assert one.answered[number] == pytest.approx(len(parsed) / len(mine))
            assert one.srs[number] == pytest.approx(np.mean(hits))
            templates = {r["question_index"] for r in parsed}
            top, bottom = (
                [
                    sum(w for r, w in zip(parsed, weights, strict=True) if r["question_index"] == t)
                    for t in templates
                ]
                for weights in (hits, [1] * len(parsed))
            )
            low, high = clustered_wilson(np.array(top, float), np.array(bottom, float))
            assert (one.low[number], one.high[number]) == pytest.approx((float(low), float(high)))


def test_changes_are_those_of_the_group_s_questions_alone(made):
    rows, named, _, found = made
    assert {one.changes[0].templates for one in found} >= {6}
    for one in found:
        mine = [r for r in rows if r["category"] == one.category and named[r["item_id"]] == one.group]
        alone = compare(assemble(run_outcomes(mine)))
        for change, expected in zip(one.changes, alone, strict=True):
            want = expected.changes[one.category].srs
            assert vars(change) == pytest.approx(vars(want), nan_ok=True)


def test_without_a_dense_model_or_names_there_are_no_changes_or_no_groups(made):
    rows, named, *_ = made
    pruned = assemble(run_outcomes([r for r in rows if r["prune_method"] == "wanda"]))
    assert all(one.changes == () for one in by_group(pruned, named))
    assert list(by_group(pruned, {})) == []
