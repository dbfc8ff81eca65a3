"""Sums and scores against plain loops, and which experts stay."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.pruning.experts.scores import (
    ExpertSums,
    HiddenPeak,
    drawn,
    ean,
    frequency,
    kept,
    reap,
    super_experts,
    weight_norm,
)


@given(st.integers(1, 7), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_sums_are_those_of_a_loop_over_pairs(experts, pairs, seed):
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, experts, pairs)
    weights = np.where(rng.random(pairs) < 0.2, 0.0, rng.random(pairs))
    norms, largest = rng.random(pairs), rng.random(pairs)
    half = pairs // 2
    parts = [slice(0, half), slice(half, None)]
    found = ExpertSums.nothing(experts)
    for part in parts:
        found += ExpertSums.of(experts, indices[part], weights[part], norms[part], largest[part])
    found = ExpertSums.from_json(json.loads(json.dumps(found.to_json())))
    for expert in range(experts):
        mine = [i for i in range(pairs) if indices[i] == expert and weights[i] != 0]
        assert frequency(found)[expert] == len(mine)
        assert ean(found)[expert] == pytest.approx(sum(norms[i] for i in mine))
        mean = sum(weights[i] * norms[i] for i in mine) / len(mine) if mine else 0.0
        assert reap(found)[expert] == pytest.approx(mean)
        assert found.largest[expert] == max((largest[i] for i in mine), default=0.0)


@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_the_smallest_of_every_group_go_and_of_equal_ones_the_first(groups, size, data):
    values = st.sampled_from([0.0, 1.0, 2.0, 3.0])
    scores = np.array(data.draw(st.lists(values, min_size=groups * size, max_size=groups * size)))
    count = data.draw(st.integers(0, size - 1))
    stay = kept(scores, groups * count, groups)
    for group in range(groups):
        inside = range(group * size, (group + 1) * size)
        gone = sorted(inside, key=lambda expert: (scores[expert], expert))[:count]
        assert set(stay) & set(inside) == set(inside) - set(gone)
    assert list(stay) == sorted(stay)


def test_guarded_experts_go_last():
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    assert list(kept(scores, 2, guarded=[0])) == [0, 3]
    assert list(kept(scores, 3, guarded=[0, 1])) == [1]


def test_super_experts_are_extreme_and_in_blocks_that_form_massive_activations():
    rng = np.random.default_rng(0)
    largest = {block: rng.uniform(1, 2, 128) for block in range(4)}
    largest[1][7] = largest[2][9] = 900.0
    forms, passes_on = HiddenPeak(3.0, 850.0, 0.2), HiddenPeak(800.0, 900.0, 0.2)
    peaks = {0: HiddenPeak(1.0, 3.0, 0.2), 1: forms, 2: passes_on, 3: passes_on}
    found, limit = super_experts(largest, peaks)
    assert found == {1: [7]}
    everything = np.concatenate([*largest.values()])
    assert limit == pytest.approx(max(np.percentile(everything, 99.5), 90.0))
    # Without massive activations there is none, however the outputs rank.
    assert super_experts(largest, dict.fromkeys(largest, HiddenPeak(1.0, 90.0, 0.01)))[0] == {}
    assert super_experts({}, {}) == ({}, 0.0)


def test_weight_norms_and_draws():
    np.testing.assert_allclose(weight_norm(np.array([4.0, 0.0, 2.0])), [2.0, 0.0, np.sqrt(2.0)])
    one, same, other, block = drawn(8, 3, 1), drawn(8, 3, 1), drawn(8, 4, 1), drawn(8, 3, 2)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, block)
