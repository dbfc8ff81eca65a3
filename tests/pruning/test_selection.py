"""Masks against an independent float64 reference that sorts."""

from __future__ import annotations

import itertools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_prune.errors import CheckpointError
from mlx_prune.kernels import cpu as select_cpu
from mlx_prune.kernels import portable as select_portable
from mlx_prune.kernels.zeroing import count_zeros
from mlx_prune.pruning.counts import group_prune_count, prune_count
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.selection import prune_weight

DTYPES = [mx.float32, mx.bfloat16, mx.float16]
SHAPES = [(1, 1), (6, 1), (33, 42), (53, 129)]
MANY_PIECES = (601, 700)  # more than the CPU works on at a time

CASES = [*itertools.product(SHAPES, [0.1, 0.5, 0.7]), ((33, 42), 0.0), ((33, 42), 0.999), (MANY_PIECES, 0.5)]


def as_float64(values: mx.array) -> np.ndarray:
    return np.array(values.astype(mx.float32)).astype(np.float64)


def random_weight(rng: np.random.Generator, shape: tuple[int, int], dtype: mx.Dtype) -> mx.array:
    # Few distinct magnitudes, so that ties are the rule.
    coarse = np.round(rng.standard_normal(shape) * 8) / 8
    fine = rng.standard_normal(shape)
    return mx.array(np.where(rng.random(shape) < 0.5, coarse, fine).astype(np.float32)).astype(dtype)


def reference_mask(weight: mx.array, scale: mx.array | None, spans: list[tuple[int, int, int]]) -> np.ndarray:
    """Marks, in each span (start, stop, k) of each row, the k smallest scores in the order of a stable sort.

    Products of two float32 are exact in float64; their rounding to float32 is part of the definition.
    """
    scores = np.abs(as_float64(weight))
    if scale is not None:
        scores = (scores * as_float64(scale)).astype(np.float32).astype(np.float64)
    mask = np.zeros(scores.shape, dtype=bool)
    for start, stop, k in spans:
        order = np.argsort(scores[:, start:stop], axis=1, kind="stable")[:, :k]
        np.put_along_axis(mask[:, start:stop], order, True, axis=1)
    return mask


def check(pruned: mx.array, weight: mx.array, mask: np.ndarray) -> None:
    assert pruned.dtype == weight.dtype
    expected = np.where(mask, 0.0, as_float64(weight))
    np.testing.assert_array_equal(as_float64(pruned), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "sparsity"), CASES)
def test_masks_prune_exactly_k_smallest_per_row(dtype, shape, sparsity):
    rng = np.random.default_rng(11)
    weight = random_weight(rng, shape, dtype)
    scale = mx.array(rng.uniform(0, 3, shape[1]).astype(np.float32))
    k = prune_count(shape[1], sparsity)
    mask = reference_mask(weight, scale, [(0, shape[1], k)])
    assert (mask.sum(axis=1) == k).all()
    check(prune_weight(weight, Recipe("wanda", sparsity), "w", scale), weight, mask)
    if shape != MANY_PIECES:
        check(select_portable.prune_rows(weight, scale, k), weight, mask)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "sparsity"), CASES)
def test_magnitude_prunes_exactly_k_smallest_of_the_matrix(dtype, shape, sparsity):
    weight = random_weight(np.random.default_rng(11), shape, dtype)
    k = prune_count(weight.size, sparsity)
    mask = reference_mask(weight.reshape(1, -1), None, [(0, weight.size, k)]).reshape(shape)
    check(prune_weight(weight, Recipe("magnitude", sparsity), "w"), weight, mask)
    if shape != MANY_PIECES:
        check(select_portable.prune_matrix(weight, k), weight, mask)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", ["random", "magnitude", "wanda"])
def test_only_work_in_place_writes_over_the_weight(dtype, method):
    weight = random_weight(np.random.default_rng(11), (33, 42), dtype)
    scale = mx.ones(42) if method == "wanda" else None
    before = as_float64(weight)
    copied = prune_weight(weight, Recipe(method, 0.5), "w", scale)
    np.testing.assert_array_equal(as_float64(weight), before)
    replaced = prune_weight(weight, Recipe(method, 0.5), "w", scale, in_place=True)
    np.testing.assert_array_equal(as_float64(replaced), as_float64(copied))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (4, 8), (3, 5), (7, 32)])
@pytest.mark.parametrize("columns", [1, 42, 131])
def test_patterns_keep_n_of_every_m(dtype, pattern, columns):
    rng = np.random.default_rng(11)
    weight = random_weight(rng, (37, columns), dtype)
    scale = mx.array(rng.uniform(0.1, 3, columns).astype(np.float32))
    keep, size = pattern
    spans = [
        (start, min(start + size, columns), group_prune_count(min(size, columns - start), keep, size))
        for start in range(0, columns, size)
    ]
    recipe_pattern = f"{keep}:{size}"
    counts = (size, group_prune_count(size, keep, size), group_prune_count(columns % size, keep, size))
    wanda = reference_mask(weight, scale, spans)
    check(prune_weight(weight, Recipe("wanda", pattern=recipe_pattern), "w", scale), weight, wanda)
    check(select_portable.prune_groups(weight, scale, counts), weight, wanda)
    magnitude = reference_mask(weight, None, spans)
    check(prune_weight(weight, Recipe("magnitude", pattern=recipe_pattern), "w"), weight, magnitude)
    check(select_portable.prune_groups(weight, None, counts), weight, magnitude)
    drawn = prune_weight(weight + 100, Recipe("random", pattern=recipe_pattern), "w")
    for start, stop, k in spans:
        assert ((as_float64(drawn[:, start:stop]) == 0).sum(axis=1) == k).all()


def test_all_equal_weights_go_by_lowest_index():
    weight = mx.full((3, 10), -0.5)
    check(
        prune_weight(weight, Recipe("wanda", 0.3), "w", mx.ones(10)), weight, np.arange(10)[None] < [[3]] * 3
    )
    first = np.arange(30).reshape(3, 10) < 9
    check(prune_weight(weight, Recipe("magnitude", 0.3), "w"), weight, first)


def test_matrix_selection_is_exact_when_the_sample_misleads():
    # Every sampled position holds a large value, so the bracket from the sample misses the threshold.
    size = 6 * (1 << 16)
    step = (size // (1 << 16)) | 1
    values = np.linspace(0.001, 1, size, dtype=np.float32)
    values[::step] = 5
    k = size // 2
    bits = values.view(np.uint32).copy().reshape(64, -1)
    select_cpu.prune_matrix(bits, "float32", k)
    expected = np.zeros(size, dtype=bool)
    expected[np.argsort(values, kind="stable")[:k]] = True
    np.testing.assert_array_equal(bits.reshape(-1) == 0, expected)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_small_matrix_matches_the_reference(data):
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 12))
    values = data.draw(st.lists(st.integers(-3, 3), min_size=rows * columns, max_size=rows * columns))
    weight = mx.array(np.array(values, dtype=np.float32).reshape(rows, columns))
    scales = data.draw(st.lists(st.integers(0, 3), min_size=columns, max_size=columns))
    scale = mx.array(np.array(scales, dtype=np.float32))
    k = data.draw(st.integers(0, columns))
    bits = np.array(weight.view(mx.uint32))
    select_cpu.prune_rows(bits, "float32", np.array(scale), k)
    mask = reference_mask(weight, scale, [(0, columns, k)])
    check(mx.array(bits).view(mx.float32), weight, mask)
    check(select_portable.prune_rows(weight, scale, k), weight, mask)


def test_random_masks_are_bernoulli_and_follow_name_and_seed_alone():
    weight = mx.ones((1500, 1401))
    zeros = {}
    for name, seed in (("a", 0), ("b", 0), ("a", 1)):
        pruned = as_float64(prune_weight(weight, Recipe("random", 0.3, seed=seed), name)) == 0
        zeros[name, seed] = pruned
        deviation = (pruned.mean() - 0.3) / np.sqrt(0.3 * 0.7 / pruned.size)
        assert abs(deviation) < 5
        rows = (pruned.mean(axis=1) - 0.3) / np.sqrt(0.3 * 0.7 / pruned.shape[1])
        assert 0.9 < rows.std() < 1.1
    again = as_float64(prune_weight(weight, Recipe("random", 0.3), "a")) == 0
    np.testing.assert_array_equal(again, zeros["a", 0])
    for other in (("b", 0), ("a", 1)):
        agreement = (zeros["a", 0] == zeros[other]).mean()
        assert abs(agreement - (0.3**2 + 0.7**2)) < 0.003


def test_a_random_mask_does_not_depend_on_the_number_of_threads(monkeypatch):
    weight = mx.ones((2100, 1001))
    whole = prune_weight(weight, Recipe("random", 0.5), "a")
    monkeypatch.setattr(
        select_cpu,
        "_in_pieces",
        lambda total, step, work: [work(s, min(s + step, total)) for s in range(0, total, step)],
    )
    assert mx.array_equal(prune_weight(weight, Recipe("random", 0.5), "a"), whole)


def test_random_groups_choose_every_position_equally_often():
    drawn = as_float64(prune_weight(mx.ones((4000, 40)), Recipe("random", pattern="1:4"), "w")) == 0
    share = drawn.reshape(-1, 4).mean(axis=0)
    np.testing.assert_allclose(share, 0.75, atol=5 * np.sqrt(0.75 * 0.25 / 40000))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("method", ["random", "magnitude", "wanda"])
def test_weights_that_are_not_finite_stop_with_the_name(dtype, bad, method):
    values = np.ones((7, 9), dtype=np.float32)
    values[6, 8] = bad
    scale = mx.ones(9) if method == "wanda" else None
    with pytest.raises(CheckpointError, match=r"layers\.3\.q_proj holds NaN or infinite weights"):
        prune_weight(mx.array(values).astype(dtype), Recipe(method, 0.5), "layers.3.q_proj", scale)


def test_unpruned_bits_survive_negative_zero_and_subnormals():
    values = np.array([[-0.0, 1e-40, -3.0, 2.0, -1e-42, 7.0]], dtype=np.float32)
    pruned = prune_weight(mx.array(values), Recipe("magnitude", 1 / 6), "w")
    bits = np.array(pruned.view(mx.uint32))
    np.testing.assert_array_equal(bits[0, 1:], values.view(np.uint32)[0, 1:])
    assert bits[0, 0] == 0
    assert count_zeros(pruned) == 1
