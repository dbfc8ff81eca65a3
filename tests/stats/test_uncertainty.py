"""Changed answers by the dense model's uncertainty, against loops over plain records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_study import random_records, run_outcomes, usable
from scipy import stats

from mlx_prune.stats.outcomes import assemble
from mlx_prune.stats.uncertainty import DECILES, changes_by_decile, deciles, letter_entropy


def test_entropy_is_that_of_the_letters_among_themselves() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((50, 3)) * 0.9
    assert letter_entropy(p) == pytest.approx(stats.entropy(p, base=2, axis=1))
    odd = np.array([[0.2, 0.2, 0.2], [0.0, 0.7, 0.0], [0.0, 0.0, 0.0], [0.1, np.nan, 0.3]])
    found = letter_entropy(odd)
    assert found[:2] == pytest.approx([np.log2(3), 0])
    assert np.isnan(found[2:]).all()
    assert not np.signbit(found[1])


@given(st.lists(st.one_of(st.integers(0, 6), st.none()), max_size=60))
def test_tenths_are_equal_in_size_and_in_order(values: list[int | None]) -> None:
    numbers = np.array([np.nan if value is None else value for value in values], float)
    found = deciles(numbers)
    known = ~np.isnan(numbers)
    if known.sum() < DECILES:
        assert (found == -1).all()
        return
    assert ((found == -1) == ~known).all()
    sizes = np.bincount(found[known], minlength=DECILES)
    assert sizes.max() - sizes.min() <= 1
    for one in range(DECILES - 1):
        assert numbers[found == one].max() <= numbers[found == one + 1].min()


def test_shares_are_those_of_plain_loops() -> None:
    rows = random_records(5, items=120)
    outcomes = assemble(run_outcomes(rows))
    dense = {(r["item_id"], r["seed"]): r for r in rows if r["prune_method"] == "dense"}
    by_item = {item: r for (item, _), r in dense.items()}
    letters = [[by_item[str(item)][f"p1_{x}"] for x in "abc"] for item in outcomes.item_ids]
    entropy = stats.entropy(np.array(letters, float), base=2, axis=1)
    found = changes_by_decile(outcomes, entropy)
    assert found is not None
    order = [str(item) for item in outcomes.item_ids[np.argsort(entropy, kind="stable")]]
    parts = [set(part) for part in np.array_split(np.array(order), DECILES)]
    for number, name in enumerate(outcomes.configurations):
        after = [
            r
            for r in usable(rows)
            if (r["prune_method"], r["sparsity"], r["pattern"])
            == (name.prune_method, name.sparsity, name.pattern)
        ]
        for part, items in enumerate(parts):
            pairs = [
                (dense[r["item_id"], r["seed"]]["parsed_answer"], r["parsed_answer"])
                for r in after
                if r["item_id"] in items and (r["item_id"], r["seed"]) in dense
            ]
            pairs = [(a, b) for a, b in pairs if a and b]
            assert found.answers[number, part] == len(pairs)
            share = sum(a != b for a, b in pairs) / len(pairs)
            assert found.changed[number, part] == pytest.approx(share)
            assert found.low[number, part] <= share <= found.high[number, part]
    assert found.changed[0].tolist() == [0] * DECILES  # the dense model against itself
    assert (found.entropy[1, :-1] <= found.entropy[0, 1:]).all()


def test_unknown_uncertainty_gives_no_tenths() -> None:
    outcomes = assemble(run_outcomes(random_records(5, items=40)))
    assert changes_by_decile(outcomes, np.full(len(outcomes.item_ids), np.nan)) is None
    without = assemble([r for r in run_outcomes(random_records(5, items=40)) if not r.configuration.is_dense])
    with pytest.raises(Exception, match="dense"):
        changes_by_decile(without, np.zeros(len(without.item_ids)))
