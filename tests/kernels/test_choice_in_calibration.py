"""Statistics of calibration by kernels that fail, are switched off, or serve experts."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from failing_kernels import CHECKED, SAID, failing_beyond_the_check, failing_when_evaluated
from mlx_lm.models.switch_layers import SwitchLinear
from shimmed_kernels import pretend_gpu, shim
from tiny_experts import save_tiny_experts
from tiny_models import save_tiny_model

from mlx_prune.activations import passes as calibration_module
from mlx_prune.activations import statistics as blockwise
from mlx_prune.activations.cache import StatisticsCache
from mlx_prune.activations.passes import calibrate
from mlx_prune.activations.statistics import ActivationSums, SquareSums, square_sums
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.checkpoint.open import Checkpoint, load
from mlx_prune.kernels import choice


@pytest.fixture
def model(tmp_path):
    return save_tiny_model(tmp_path / "model", "llama", dtype="bfloat16", seed=3)


@pytest.mark.parametrize("lazily", [False, True], ids=["at its call", "at its evaluation"])
def test_a_calibration_whose_kernel_fails_counts_every_batch_once(lazily, model, calibration, monkeypatch):
    monkeypatch.setattr(calibration_module, "_SMALLEST_BUDGET", 1)
    loaded = load(model, dtype="bfloat16")
    expected = calibrate(loaded, calibration)
    pretend_gpu(monkeypatch, run=failing_beyond_the_check("square_sums", lazily=lazily))
    with pytest.warns(choice.KernelWarning, match="sum_of_squares"):
        found = calibrate(loaded, calibration)
    for name, sums in expected.sums.items():
        assert found.sums[name].count == sums.count
        np.testing.assert_allclose(np.array(found.sums[name].sums), np.array(sums.sums), rtol=1e-5)
    assert found.kernels["ran"] == {"sum_of_squares": {"bfloat16": ["portable"]}}


def test_a_kernel_that_fails_in_a_later_batch_adds_nothing_twice(model, calibration, monkeypatch):
    monkeypatch.setattr(calibration_module, "_SMALLEST_BUDGET", 1)
    loaded = load(model, dtype="bfloat16")
    expected = calibrate(loaded, calibration)
    calls: list[int] = []

    def sixth(name, inputs, *rest):
        calls.append(inputs[0].shape not in CHECKED)
        if sum(calls) == 6 and calls[-1]:  # of four in each batch
            return failing_when_evaluated(rest[2], rest[3])
        return shim("metal")(name, inputs, *rest)

    pretend_gpu(monkeypatch, run=sixth)
    with pytest.warns(choice.KernelWarning):
        found = calibrate(loaded, calibration)
    for name, sums in expected.sums.items():
        assert found.sums[name].count == sums.count
        np.testing.assert_allclose(np.array(found.sums[name].sums), np.array(sums.sums), rtol=1e-5)
    assert found.kernels["ran"] == {"sum_of_squares": {"bfloat16": ["metal", "portable"]}}


def test_sums_of_one_array_fall_back_too(monkeypatch):
    pretend_gpu(monkeypatch, run=failing_beyond_the_check("square_sums"))
    with pytest.warns(choice.KernelWarning):
        sums = square_sums(mx.full((100, 7), 2.0)).sums
    assert sums.tolist() == [400.0] * 7
    assert choice.fault("sum_of_squares", mx.float32) == SAID


def test_statistics_of_kernels_are_not_reused_without_them(model, tmp_path, calibration, monkeypatch):
    monkeypatch.setenv("MLX_PRUNE_CACHE", str(tmp_path / "cache"))
    loaded = load(model)
    data = calibration_tokens(calibration, loaded.tokenizer, loaded.config, 0)
    sums = {"layer": SquareSums(mx.ones(3), 4)}

    def cache():
        return StatisticsCache(Checkpoint(model).on_disk("bfloat16"), data, batch_size=1)

    pretend_gpu(monkeypatch)
    cache().store_dense(sums)
    assert cache().dense().keys() == {"layer"}
    monkeypatch.setenv(choice.VARIABLE, "0")
    assert cache().dense() == {}


def test_experts_are_measured_by_kernels_as_others_are(tmp_path, calibration, monkeypatch):
    source = load(save_tiny_experts(tmp_path / "experts", "mixtral"), dtype="float32")
    expected = calibrate(source, calibration)
    pretend_gpu(monkeypatch)
    found = calibrate(source, calibration)
    assert found.kernels == {"ran": {"sum_of_squares": {"float32": ["metal"]}}, "faults": {}}
    for name, sums in expected.sums.items():
        np.testing.assert_allclose(np.array(found.sums[name].sums), np.array(sums.sums), rtol=1e-5)


@pytest.mark.parametrize(("most", "evaluations"), [(1, [1] * 6), (1 << 40, [6])])
def test_experts_sums_are_evaluated_many_at_a_time(most, evaluations, monkeypatch):
    monkeypatch.setattr(blockwise, "_MOST_PENDING", most)
    layer = SwitchLinear(8, 5, 6, bias=False)
    linear = PrunableLinear("up[0]", 0, "up", 5, 8, layer, expert=0)
    x, indices = mx.random.normal((40, 1, 1, 8)), mx.random.randint(0, 6, (40, 2))
    mx.eval(x, indices)
    sums = ActivationSums([linear], square_sums)
    calls = []
    evaluate = mx.eval
    monkeypatch.setattr(blockwise.mx, "eval", lambda sums: calls.append(len(sums)) or evaluate(sums))
    with sums.watching():
        layer(x, indices)
    assert [call for call in calls if call] == evaluations
