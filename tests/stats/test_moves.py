"""Moves of option probabilities equal loops; the questions that moved most are chosen both ways, honestly."""

import numpy as np
import pytest
from random_study import ROLE_COLUMNS, random_records, run_outcomes, usable

from mlx_prune.configuration import Configuration
from mlx_prune.stats.moves import MOVED, moves
from mlx_prune.stats.outcomes import assemble


@pytest.fixture(scope="module")
def made():
    rows = random_records(4, items=60)
    outcomes = assemble(run_outcomes(rows))
    return rows, outcomes, moves(outcomes)


def roles(row):
    return [row["p_" + "abc"[row[f"{role}_index"]]] for role in ROLE_COLUMNS]


def test_distance_is_total_variation_and_lean_the_change_of_bias(made):
    rows, outcomes, found = made
    held = {(Configuration.of(row), row["item_id"]): roles(row) for row in usable(rows)}
    for number, configuration in enumerate(outcomes.configurations):
        for place, item in enumerate(outcomes.item_ids.tolist()):
            before, after = (held.get((one, item)) for one in (configuration.dense, configuration))
            if before is None or after is None:
                assert np.isnan(found.distance[number, place])
                continue
            change = [b - a for a, b in zip(before, after, strict=True)]
            rest = -sum(change)
            total = sum(map(abs, [*change, rest])) / 2
            assert found.distance[number, place] == pytest.approx(total, abs=1e-6)
            assert found.lean[number, place] == pytest.approx(change[0] - change[1], abs=1e-6)


def test_a_model_does_not_move_from_itself(made):
    _, _, found = made
    assert np.nanmax(found.distance[0]) == 0


@pytest.mark.parametrize("up", [True, False])
def test_most_moved_are_the_farthest_of_each_template_in_one_direction(made, up):
    _, outcomes, found = made
    number, items = 3, outcomes.category == 0
    chosen = found.most_moved(number, items, outcomes.template, 4, up=up)
    candidates = [
        place
        for place in np.flatnonzero(items)
        if found.distance[number, place] >= MOVED and (found.lean[number, place] > 0) == up
    ]
    best = {}
    for place in sorted(candidates, key=lambda place: -found.distance[number, place]):
        best.setdefault(outcomes.template[place], place)
    assert chosen == list(best.values())[:4]
    assert len(chosen) >= 3
