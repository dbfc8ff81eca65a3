"""The array of outcomes, and what is counted from it, against loops over plain records."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from random_study import LETTERS, random_records, run_outcomes, usable

from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.stats.expected import agreement, expected_counts, letter_mass
from mlx_prune.stats.outcomes import (
    ANTI,
    OUTCOMES,
    STEREOTYPED,
    UNKNOWN,
    UNPARSED,
    assemble,
    classify,
)
from mlx_prune.stats.transitions import (
    answer_transitions,
    fresh_emergence,
    held_out_emergence,
    item_transitions,
)


def outcome_of(row):
    if row["parsed_answer"] is None:
        return "unparsed"
    option = LETTERS.index(row["parsed_answer"])
    if option == row["stereotype_target_index"]:
        return "stereotyped"
    return "unknown" if option == row["unknown_index"] else "anti"


@pytest.fixture(scope="module", params=[0, 1])
def study(request):
    rows = random_records(request.param, items=45)
    return usable(rows), assemble(run_outcomes(rows))


def answers(rows, configuration):
    """item -> seed -> row of one configuration."""
    found = {}
    for row in rows:
        if Configuration.of(row) == dataclasses.replace(configuration, model=row["model"]):
            found.setdefault(row["item_id"], {})[row["seed"]] = row
    return found


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


def test_item_transitions_follow_the_definitions(study):
    rows, outcomes = study
    got = item_transitions(outcomes)
    dense = answers(rows, outcomes.configurations[0])
    for c, configuration in enumerate(outcomes.configurations):
        pruned = answers(rows, configuration)
        for i, item in enumerate(outcomes.item_ids):
            before = [outcome_of(r) for r in dense.get(item, {}).values()]
            after = [outcome_of(r) for r in pruned.get(item, {}).values()]
            understood = any(o != "unparsed" for o in before) and bool(after)
            unbiased = understood and "stereotyped" not in before
            biased = understood and "stereotyped" in before
            assert got.unbiased_before[c, i] == unbiased
            assert got.became_biased[c, i] == (unbiased and "stereotyped" in after)
            assert got.biased_before[c, i] == biased
            assert got.became_unbiased[c, i] == (
                biased and "stereotyped" not in after and any(o != "unparsed" for o in after)
            )


def test_answer_transitions_count_every_pair_once(study):
    rows, outcomes = study
    got = answer_transitions(outcomes)
    dense = answers(rows, outcomes.configurations[0])
    for c, configuration in enumerate(outcomes.configurations):
        want = np.zeros((5, 5), int)
        pruned = answers(rows, configuration)
        for item, seed in product(outcomes.item_ids, outcomes.seeds):
            pair = [x.get(item, {}).get(seed) for x in (dense, pruned)]
            want[tuple(OUTCOMES.index("absent" if r is None else outcome_of(r)) for r in pair)] += 1
        np.testing.assert_array_equal(got[c], want)


def test_held_out_emergence_follows_its_definition(study):
    rows, outcomes = study
    got = held_out_emergence(outcomes)
    dense = answers(rows, outcomes.configurations[0])
    for c, configuration in enumerate(outcomes.configurations):
        pruned = answers(rows, configuration)
        for i, item in enumerate(outcomes.item_ids):
            eligible = stereotyped = 0
            for seed in outcomes.seeds:
                others = [outcome_of(r) for s, r in dense.get(item, {}).items() if s != seed]
                row = pruned.get(item, {}).get(seed)
                if row is None or outcome_of(row) == "unparsed" or "stereotyped" in others:
                    continue
                if all(o == "unparsed" for o in others):
                    continue
                eligible += 1
                stereotyped += outcome_of(row) == "stereotyped"
            assert (got.eligible[c, i], got.stereotyped[c, i]) == (eligible, stereotyped)


def test_fresh_emergence_is_the_chance_of_at_least_one(study):
    rows, outcomes = study
    got = fresh_emergence(outcomes)
    unbiased = item_transitions(outcomes).unbiased_before
    for c, configuration in enumerate(outcomes.configurations):
        by_item = answers(rows, configuration)
        for i, item in enumerate(outcomes.item_ids):
            if not unbiased[c, i]:
                assert got.expected[c, i] == got.unbiased[c, i] == 0
                continue
            row = next(iter(by_item[item].values()))
            letters = [row["p_a"], row["p_b"], row["p_c"]]
            rate = letters[row["stereotype_target_index"]] / sum(letters)
            draws = sum(r["parsed_answer"] is not None for r in by_item[item].values())
            assert got.expected[c, i] == pytest.approx(1 - (1 - rate) ** draws, abs=1e-6)
    np.testing.assert_allclose(letter_mass(outcomes), 0.97, rtol=1e-5)


def test_expected_counts_weigh_probabilities_by_the_answers_asked_for(study):
    rows, outcomes = study
    got = expected_counts(outcomes)
    for c, configuration in enumerate(outcomes.configurations):
        by_item = answers(rows, configuration)
        for i, item in enumerate(outcomes.item_ids):
            asked = list(by_item.get(item, {}).values())
            for column, role in ((got.stereotyped, "stereotype_target"), (got.unknown, "unknown")):
                want = sum(r["p_" + LETTERS[r[f"{role}_index"]].lower()] for r in asked)
                assert column[c, i] == pytest.approx(want, abs=1e-6)


def simulated(rate_dense, rate_pruned, items=3000, seeds=5, seed=0):
    """Outcomes drawn independently from known per-item rates of the stereotyped option."""
    rng = np.random.default_rng(seed)
    base = run_outcomes(random_records(0, items=3, grid=(("dense", 0.0, None), ("wanda", 50.0, None))))
    runs = []
    for run, rate in zip(base, (rate_dense, rate_pruned), strict=True):
        hit = rng.random((items, seeds)) < rate[:, None]
        p = np.stack([rate, 0 * rate, 1 - rate], axis=1).astype(np.float32)
        runs.append(
            dataclasses.replace(
                run,
                item_ids=[f"Age:{i}" for i in range(items)],
                categories=["Age"] * items,
                question_indices=np.arange(items) % 25,
                item=np.repeat(np.arange(items), seeds),
                seed=np.tile(np.arange(seeds), items),
                code=np.where(hit, STEREOTYPED, UNKNOWN).astype(np.int8).ravel(),
                guessed=np.zeros(hit.size, bool),
                probabilities=p,
            )
        )
    return assemble(runs)


def test_without_pruning_observed_emergence_is_its_null():
    rate = np.random.default_rng(5).beta(0.5, 3, 20_000)
    outcomes = simulated(rate, rate, items=20_000)
    items = item_transitions(outcomes)
    observed = items.became_biased[1].sum() / items.unbiased_before[1].sum()
    fresh = fresh_emergence(outcomes)
    null = fresh.expected[0].sum() / fresh.unbiased[0].sum()
    # Nothing was pruned, and yet a fifth of the "unbiased" items "became biased".
    assert null > 0.1
    assert observed == pytest.approx(null, abs=4 * np.sqrt(0.25 / items.unbiased_before[1].sum()))
    held = held_out_emergence(outcomes)
    before, after = held.stereotyped.sum(axis=1) / held.eligible.sum(axis=1)
    assert before == pytest.approx(after, abs=0.01)
    assert after < observed / 2


def test_sampled_rates_agree_with_expected_ones_as_often_as_they_should():
    rng = np.random.default_rng(6)
    z = [agreement(simulated(rate := rng.beta(0.5, 3, 300), rate, items=300, seed=n)).z for n in range(200)]
    assert np.std(z) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(z)) < 0.2


def test_agreement_breaks_where_the_first_letter_does_not_decide():
    rate = np.full(500, 0.2)
    outcomes = simulated(rate, rate, items=500)
    outcomes.codes[1][:100] = STEREOTYPED
    z = agreement(outcomes).z
    assert abs(z[0]) < 4
    assert z[1] > 4


def test_records_without_probabilities_give_no_expectation():
    rows = random_records(0, items=20, complete=True)
    runs = [
        dataclasses.replace(run, probabilities=np.full_like(run.probabilities, np.nan))
        for run in run_outcomes(rows)
    ]
    outcomes = assemble(runs)
    assert fresh_emergence(outcomes).unbiased.sum() == 0
    assert expected_counts(outcomes).letters.sum() == 0
    assert np.isnan(letter_mass(outcomes)).all()
    assert np.isnan(agreement(outcomes).expected).all()
