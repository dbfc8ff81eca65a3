"""Kernels that fail or are not trusted give way to portable operations, one by one, and reports say so."""

from __future__ import annotations

import json
import warnings

import mlx.core as mx
import numpy as np
import pytest
from failing_kernels import CHECKED, SAID, counting, failing_beyond_the_check
from shimmed_kernels import pretend_gpu, shim
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import load
from mlx_prune.cli.main import run as run_command
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.kernels import choice
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.selection import prune_weight
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe


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
