"""What changed from dense to pruned, and emergence without pruning, against loops over plain records."""

from itertools import product

import numpy as np
import pytest
from random_study import answers, outcome_of, random_records, run_outcomes, simulated, usable

from mlx_prune.stats.expected import letter_mass
from mlx_prune.stats.outcomes import OUTCOMES, assemble
from mlx_prune.stats.transitions import (
    answer_transitions,
    fresh_emergence,
    held_out_emergence,
    item_transitions,
)


@pytest.fixture(scope="module", params=[0, 1])
def study(request):
    rows = random_records(request.param, items=45)
    return usable(rows), assemble(run_outcomes(rows))


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
