"""The GPU kernels: on any machine through a C++ shim, and on a Metal or CUDA GPU where there is one."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from shimmed_kernels import shim

from mlx_prune.kernels import check, launch
from mlx_prune.kernels import cpu as select_cpu
from mlx_prune.pruning.counts import group_prune_count, prune_count

DTYPES = [mx.float32, mx.bfloat16, mx.float16]
NAMES = {mx.float32: "float32", mx.bfloat16: "bfloat16", mx.float16: "float16"}
BITS = {mx.float32: mx.uint32, mx.bfloat16: mx.uint16, mx.float16: mx.uint16}


@pytest.fixture(params=["metal", "cuda"])
def kernels(request, monkeypatch):
    monkeypatch.setattr(launch, "_run", shim(request.param))
    return launch


def as_float64(values: mx.array) -> np.ndarray:
    return np.array(values.astype(mx.float32)).astype(np.float64)


def random_weight(shape, dtype, rng):
    coarse = np.round(rng.standard_normal(shape) * 4) / 4
    values = np.where(rng.random(shape) < 0.6, coarse, rng.standard_normal(shape))
    return mx.array(values.astype(np.float32)).astype(dtype)


def expected(weight, prune):
    """What the CPU selection, itself tested against a float64 reference, makes of a weight."""
    bits = np.array(weight.view(BITS[weight.dtype]))
    prune(bits, NAMES[weight.dtype])
    return bits


def assert_same_bits(found, bits):
    np.testing.assert_array_equal(np.array(found.view(BITS[found.dtype])), bits)


def check_square_sums(module, dtype, shape):
    x = mx.array(np.random.default_rng(11).normal(0.3, 2, shape).astype(np.float32)).astype(dtype)
    exact = np.square(as_float64(x)).sum(axis=0)
    np.testing.assert_allclose(np.array(module.sum_of_squares(x)), exact, rtol=2e-6)


def check_rows(module, dtype, shape, sparsity):
    rng = np.random.default_rng(11)
    weight = random_weight(shape, dtype, rng)
    scale = mx.array(rng.choice([0.0, 0.5, 1.0, 1.7], shape[1]).astype(np.float32))
    k = prune_count(shape[1], sparsity)
    bits = expected(weight, lambda b, t: select_cpu.prune_rows(b, t, np.array(scale), k))
    assert_same_bits(module.prune_rows(weight, scale, k), bits)


def check_matrix(module, dtype, shape, sparsity):
    weight = random_weight(shape, dtype, np.random.default_rng(11))
    k = prune_count(weight.size, sparsity)
    bits = expected(weight, lambda b, t: select_cpu.prune_matrix(b, t, k))
    assert_same_bits(module.prune_matrix(weight, k), bits)


def check_groups(module, dtype, columns, pattern):
    rng = np.random.default_rng(11)
    weight = random_weight((11, columns), dtype, rng)
    scale = mx.array(rng.uniform(0.1, 3, columns).astype(np.float32))
    keep, size = pattern
    counts = (size, group_prune_count(size, keep, size), group_prune_count(columns % size, keep, size))
    bits = expected(weight, lambda b, t: select_cpu.prune_groups(b, t, np.array(scale), counts))
    assert_same_bits(module.prune_groups(weight, scale, counts), bits)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (700, 1), (65, 33), (200, 513)])
def test_square_sums_equal_float64(kernels, dtype, shape):
    check_square_sums(kernels, dtype, shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "sparsity"),
    [((1, 2), 0.5), ((3, 33), 0.1), ((5, 256), 0.5), ((4, 700), 0.7), ((2, 1025), 0.999)],
)
def test_rows_equal_the_cpu_selection(kernels, dtype, shape, sparsity):
    check_rows(kernels, dtype, shape, sparsity)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "sparsity"), [((1, 2), 0.5), ((33, 42), 0.3), ((150, 333), 0.5), ((129, 255), 0.9)]
)
def test_matrices_equal_the_cpu_selection(kernels, dtype, shape, sparsity):
    check_matrix(kernels, dtype, shape, sparsity)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("columns", [1, 42, 515])
@pytest.mark.parametrize("pattern", [(2, 4), (4, 8), (3, 5)])
def test_groups_equal_the_cpu_selection(kernels, dtype, columns, pattern):
    check_groups(kernels, dtype, columns, pattern)


def test_all_equal_weights_go_by_lowest_index(kernels):
    weight = mx.full((3, 600), 0.5)
    rows = kernels.prune_rows(weight, mx.ones(600), 301)
    np.testing.assert_array_equal(as_float64(rows) == 0, np.tile(np.arange(600) < 301, (3, 1)))
    flat = mx.full((3, launch.CHUNK), -2.0)
    matrix = kernels.prune_matrix(flat, launch.CHUNK + 77)
    np.testing.assert_array_equal(
        (as_float64(matrix) == 0).reshape(-1), np.arange(3 * launch.CHUNK) < launch.CHUNK + 77
    )


def on_gpu(dtype):
    assert all(check.check(name, dtype, shapes=check.THOROUGH_SHAPES).agrees for name in check.FUNCTIONS)
    check_square_sums(launch, dtype, (1000, 777))
    check_rows(launch, dtype, (300, 4099), 0.5)
    check_rows(launch, dtype, (17, 33), 0.7)
    check_matrix(launch, dtype, (700, 1001), 0.5)
    check_matrix(launch, dtype, (1, 2), 0.5)
    check_groups(launch, dtype, 4099, (2, 4))


@pytest.mark.metal
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kernels_on_a_metal_gpu(dtype):
    on_gpu(dtype)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kernels_on_a_cuda_gpu(dtype):
    on_gpu(dtype)
