"""Kernels that fail or are not trusted give way to portable operations, one by one, and reports say so."""

from __future__ import annotations

import json
import warnings

import mlx.core as mx
import numpy as np
import pytest
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
from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears
from mlx_prune.checkpoint.open import Checkpoint, load
from mlx_prune.cli.main import run as run_command
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.kernels import check, choice
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.selection import prune_weight
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe

CHECKED = {*check.SHAPES, *((rows * columns,) for rows, columns in check.SHAPES)}
SAID = "[METAL] Command buffer execution failed: no room"


def failing_when_evaluated(shape, dtype):
    """An array that raises in mx.eval; a skip on a GPU, which may hang when the CPU fails it.

    The shim reads inputs through NumPy, which does not tell, so only a function's last kernel may do this.
    """
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("needs MLX on the CPU")
    return mx.zeros(shape, dtype) + mx.linalg.inv(mx.zeros((2, 2)))[0, 0].astype(dtype)


def failing_beyond_the_check(*names: str, lazily: bool = False):
    """Kernels that pass the check, and fail on every other shape."""

    def run(name, inputs, *rest):
        if name not in names or inputs[0].shape in CHECKED:
            return shim("metal")(name, inputs, *rest)
        if lazily:
            return failing_when_evaluated(rest[2], rest[3])
        raise RuntimeError(SAID)

    return run


def counting(calls: list[str]):
    def run(name, *rest):
        calls.append(name)
        return shim("metal")(name, *rest)

    return run


@pytest.fixture
def model(tmp_path):
    return save_tiny_model(tmp_path / "model", "llama", dtype="bfloat16", seed=3)


def weights_of(loaded):
    return {linear.name: np.array(linear.weight.view(mx.uint16)) for linear in prunable_linears(loaded.model)}


def pruned(model, recipe):
    loaded = load(model, dtype="bfloat16")
    report = prune(loaded, recipe)
    return weights_of(loaded), report


RECIPES = {
    "prune_matrix": ("apply_threshold", Recipe("magnitude", 0.4)),
    "prune_groups": ("select_groups", Recipe("magnitude", pattern="2:4")),
}


@pytest.mark.parametrize("lazily", [False, True], ids=["at its call", "at its evaluation"])
@pytest.mark.parametrize("function", RECIPES)
def test_a_kernel_that_fails_on_larger_matrices_gives_way_once(function, lazily, model, monkeypatch):
    body, recipe = RECIPES[function]
    expected, _ = pruned(model, recipe)
    pretend_gpu(monkeypatch, run=failing_beyond_the_check(body, lazily=lazily))
    with pytest.warns(choice.KernelWarning, match=f"{function} is not used for bfloat16") as told:
        found, report = pruned(model, recipe)
    assert len(told) == 1
    for name, bits in expected.items():
        np.testing.assert_array_equal(found[name], bits)
    assert report.kernels["ran"] == {function: {"bfloat16": ["portable"]}}
    assert set(report.kernels["faults"]) == {function}
    if not lazily:
        assert report.kernels["faults"][function]["bfloat16"] == SAID
    assert sum("is not used for bfloat16" in sentence for sentence in report.warnings) == 1
    assert report.to_json()["kernels"] == report.kernels


def test_what_a_kernel_did_before_it_failed_stays_recorded(model, monkeypatch):
    launches: list[str] = []

    def third_matrix(name, inputs, *rest):
        if name == "apply_threshold" and inputs[0].shape not in CHECKED:
            launches.append(name)
            if len(launches) == 3:
                raise RuntimeError(SAID)
        return shim("metal")(name, inputs, *rest)

    expected, _ = pruned(model, Recipe("magnitude", 0.4))
    pretend_gpu(monkeypatch, run=third_matrix)
    with pytest.warns(choice.KernelWarning):
        found, report = pruned(model, Recipe("magnitude", 0.4))
    assert report.kernels["ran"] == {"prune_matrix": {"bfloat16": ["metal", "portable"]}}
    assert len(launches) == 3
    for name, bits in expected.items():
        np.testing.assert_array_equal(found[name], bits)


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


def test_a_failure_that_is_not_the_kernels_stays_what_it_is(model, monkeypatch):
    pretend_gpu(monkeypatch)
    weight = mx.array(np.random.default_rng(0).normal(size=(9, 20)).astype(np.float32))

    def work():
        choice.usable("prune_rows", mx.float32)
        raise MemoryError("no room")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MemoryError, match="no room"):
            choice.attempt(work)
        assert choice.fault("prune_rows", mx.float32) is None
        attempts = []
        with pytest.raises(CheckpointError):
            choice.attempt(lambda: attempts.append(choice.usable("prune_rows", mx.float32)) or refuse())
        assert attempts == [True]
        with choice.recording() as record:
            prune_weight(weight, Recipe("magnitude", 0.5), "w")
    assert record.to_json() == {"ran": {"prune_matrix": {"float32": ["metal"]}}, "faults": {}}


def refuse():
    raise CheckpointError("refused for reasons of its own")


def test_kernels_can_be_switched_off(model, calibration, monkeypatch):
    calls: list[str] = []
    pretend_gpu(monkeypatch, run=counting(calls))
    monkeypatch.setenv(choice.VARIABLE, "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, report = pruned(model, Recipe("wanda", 0.5, calibration=calibration))
    assert calls == []
    assert report.kernels["ran"] == {
        "sum_of_squares": {"bfloat16": ["portable"]},
        "prune_rows": {"bfloat16": ["portable"]},
    }
    assert report.kernels["faults"]["prune_rows"] == {"bfloat16": "MLX_PRUNE_KERNELS=0"}
    assert not [sentence for sentence in report.warnings if "kernel" in sentence]
    monkeypatch.setenv(choice.VARIABLE, "1")
    _, report = pruned(model, Recipe("magnitude", 0.5))
    assert report.kernels["ran"] == {"prune_matrix": {"bfloat16": ["metal"]}}
    assert calls


def test_a_switch_that_is_neither_on_nor_off_is_refused(monkeypatch):
    pretend_gpu(monkeypatch)
    monkeypatch.setenv(choice.VARIABLE, "no")
    with pytest.raises(RecipeError, match="'no'"):
        choice.switched_off()


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


def test_a_checkpoint_records_what_ran_also_after_a_kill(model, tmp_path, calibration, monkeypatch):
    recipe = Recipe("wanda", 0.5, calibration=calibration)
    pretend_gpu(monkeypatch)

    class Killed(Exception):
        pass

    def kill(step):
        if step.stage == "prune" and step.done == 1:
            raise Killed

    with pytest.raises(Killed):
        prune_checkpoint(model, tmp_path / "out", recipe, dtype="bfloat16", cache=False, progress=kill)
    monkeypatch.setenv(choice.VARIABLE, "0")
    prune_checkpoint(model, tmp_path / "out", recipe, dtype="bfloat16", cache=False)
    meta = json.loads((tmp_path / "out" / "pruning_meta.json").read_text())
    assert meta["kernels"]["ran"]["prune_rows"] == {"bfloat16": ["metal", "portable"]}
    again = prune_checkpoint(model, tmp_path / "out", recipe, dtype="bfloat16")
    assert again.kernels == meta["kernels"]


def test_the_command_tells_a_kernels_failure_once_and_goes_on(model, tmp_path, monkeypatch, capsys):
    pretend_gpu(monkeypatch, run=failing_beyond_the_check("digit_counts"))
    code = run_command(["prune", str(model), "-o", str(tmp_path / "out"), "-m", "magnitude", "-s", "50"])
    told = capsys.readouterr()
    assert code == 0
    assert " ".join(told.err.split()).count("The GPU kernel prune_matrix is not used for bfloat16") == 1
    assert "KernelWarning" not in told.err


def test_a_narrower_model_records_what_ran(model, tmp_path, calibration, monkeypatch):
    pretend_gpu(monkeypatch)
    recipe = StructuredRecipe("width", 0.4, calibration=calibration)
    report = prune_structured(model, tmp_path / "out", recipe, dtype="bfloat16")
    assert report.kernels["ran"] == {"sum_of_squares": {"bfloat16": ["metal"]}}
    assert json.loads((tmp_path / "out" / "pruning_meta.json").read_text())["kernels"] == report.kernels


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
