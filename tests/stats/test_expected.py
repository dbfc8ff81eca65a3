"""What option probabilities tell, against loops over plain records and by simulation."""

import dataclasses

import numpy as np
import pytest
from random_study import LETTERS, answers, random_records, run_outcomes, simulated, usable

from mlx_prune.stats.expected import agreement, expected_counts, letter_mass
from mlx_prune.stats.outcomes import STEREOTYPED, assemble
from mlx_prune.stats.transitions import fresh_emergence


@pytest.fixture(scope="module", params=[0, 1])
def study(request):
    rows = random_records(request.param, items=45)
    return usable(rows), assemble(run_outcomes(rows))


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
