"""The array of outcomes against loops over plain records."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from random_study import answers, outcome_of, random_records, run_outcomes, usable

from mlx_prune.errors import RecordsError
from mlx_prune.stats.outcomes import ANTI, OUTCOMES, STEREOTYPED, UNKNOWN, UNPARSED, assemble, classify
from mlx_prune.stats.transitions import item_transitions


@pytest.fixture(scope="module", params=[0, 1])
def study(request):
    rows = random_records(request.param, items=45)
    return usable(rows), assemble(run_outcomes(rows))


def test_classify_names_every_combination():
    for parsed, stereotyped, unknown in product(range(-1, 3), range(3), range(3)):
        if stereotyped != unknown:
            code = classify(np.array([parsed]), np.array([stereotyped]), np.array([unknown]))[0]
            named = {-1: UNPARSED, stereotyped: STEREOTYPED, unknown: UNKNOWN}.get(parsed, ANTI)
            assert code == named


def test_codes_are_the_records(study):
    rows, outcomes = study
    for c, configuration in enumerate(outcomes.configurations):
        by_item = answers(rows, configuration)
        for i, item in enumerate(outcomes.item_ids):
            for s, seed in enumerate(outcomes.seeds):
                row = by_item.get(item, {}).get(seed)
                assert OUTCOMES[outcomes.codes[c, i, s]] == ("absent" if row is None else outcome_of(row))
    assert outcomes.configurations[0].prune_method == "dense"


def test_templates_are_category_and_question(study):
    rows, outcomes = study
    template = {r["item_id"]: (r["category"], r["question_index"]) for r in rows}
    pairs = {
        (template[item], number) for item, number in zip(outcomes.item_ids, outcomes.template, strict=True)
    }
    assert len(pairs) == len({t for t, _ in pairs}) == len({n for _, n in pairs})
    assert [outcomes.categories[c] for c in outcomes.category] == [template[i][0] for i in outcomes.item_ids]


def test_runs_must_fit_together():
    first = run_outcomes(random_records(0, items=10))
    with pytest.raises(RecordsError, match="no records"):
        assemble([])
    disambiguated = [r | {"context_condition": "disambig"} for r in random_records(0, items=4)]
    with pytest.raises(RecordsError, match="no ambiguous item"):
        assemble(
            [dataclasses.replace(run, item_ids=[], categories=[]) for run in run_outcomes(disambiguated)]
        )
    with pytest.raises(RecordsError, match="same configuration"):
        assemble([first[0], first[0]])
    twice = dataclasses.replace(
        first[0],
        **{n: np.concatenate([getattr(first[0], n)] * 2) for n in ("item", "seed", "code")},
    )
    with pytest.raises(RecordsError, match="twice"):
        assemble([twice])
    moved = dataclasses.replace(first[1], question_indices=first[1].question_indices + 1)
    with pytest.raises(RecordsError, match="disagree"):
        assemble([first[0], moved])
    with pytest.raises(RecordsError, match="dense"):
        item_transitions(assemble(first[1:]))
