"""The loop: what a step computes, when it ends, and that a killed one carries on to the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from recovering import (
    SHORT,
    dense_and_pruned,
    log_softmax,
    recovered_copy,
    short,
    values,
    write_text,
)

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import DataError
from mlx_prune.recovery import first_step, training
from mlx_prune.recovery.data import training_data
from mlx_prune.recovery.files import STATE_FILE
from mlx_prune.recovery.job import recover
from mlx_prune.recovery.layers import SCALE, adapt, merged
from mlx_prune.recovery.losses import held_out_losses, training_loss
from mlx_prune.recovery.training import Training


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return dense_and_pruned(tmp_path_factory.mktemp("models"))


def logits_of(folder, tokens):
    network = Checkpoint(folder).network("float32")
    return np.array(network(mx.array(tokens)), np.float64)


def test_losses_are_those_of_plain_formulas(models):
    tokens = np.random.default_rng(1).integers(5, 300, (3, 17)).astype(np.int32)
    teacher, student = (log_softmax(logits_of(folder, tokens[:, :-1])) for folder in models)
    divergence = (np.exp(teacher) * (teacher - student)).sum(axis=-1).mean()
    text_loss = -np.take_along_axis(student, tokens[:, 1:, None], -1).mean()
    networks = [Checkpoint(folder).network("float32") for folder in models]
    found = held_out_losses(networks[1], tokens, 2, networks[0])
    assert found.distill == pytest.approx(divergence, rel=1e-4)
    assert found.text == pytest.approx(text_loss, rel=1e-5)
    expected = networks[0](mx.array(tokens[:, :-1]))
    assert training_loss(networks[1], mx.array(tokens), expected).item() == pytest.approx(
        divergence, rel=1e-4
    )
    assert training_loss(networks[1], mx.array(tokens), None).item() == pytest.approx(text_loss, rel=1e-5)


def test_an_update_is_added_where_weights_are_not_zero(models):
    network = Checkpoint(models[1]).network("float32")
    layers = adapt(network, short(rank=3))
    layer = layers["model.layers.1.mlp.up_proj"]
    layer.lora_b = mx.random.normal(layer.lora_b.shape, key=mx.random.key(7))
    weight, a, b = (
        np.array(array, np.float64) for array in (layer.linear.weight, layer.lora_a, layer.lora_b)
    )
    expected = weight + SCALE * (a @ b).T * (weight != 0)
    np.testing.assert_allclose(np.array(merged(layer)), expected, rtol=0, atol=1e-6)
    x = np.random.default_rng(0).standard_normal((2, 5, weight.shape[1])).astype(np.float32)
    np.testing.assert_allclose(np.array(layer(mx.array(x))), x @ expected.T, rtol=0, atol=1e-4)


def test_only_layers_of_the_blocks_are_trained_and_start_as_they_were(models):
    network = Checkpoint(models[1]).network("float32")
    tokens = mx.array([[7, 91, 30, 8, 200, 13]])
    before = np.array(network(tokens))
    layers = adapt(network, short())
    np.testing.assert_allclose(np.array(network(tokens)), before, rtol=0, atol=1e-5)
    trained = {name.rpartition(".")[0] for name, _ in nn.utils.tree_flatten(network.trainable_parameters())}
    assert trained == set(layers)


@pytest.mark.parametrize("full", [False, True])
def test_blocks_computed_again_give_the_same_gradient(models, full):
    tokens = mx.array(np.random.default_rng(2).integers(5, 300, (2, 12)).astype(np.int32))
    found = []
    for again in (False, True):
        network = Checkpoint(models[1]).network("float32")
        settings = short(grad_checkpoint=again, full=full)
        layers = adapt(network, settings)
        for layer in layers.values():
            if not full:
                layer.lora_b = mx.random.normal(layer.lora_b.shape, key=mx.random.key(3))
        run = Training.__new__(Training)
        run.network, run.settings = network, settings
        with run._checkpointed():
            loss, gradient = nn.value_and_grad(network, training_loss)(network, tokens, None)
        found.append((loss.item(), dict(nn.utils.tree_flatten(gradient))))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, one in found[0][1].items():
        scale = float(mx.abs(one).max().item())
        np.testing.assert_allclose(np.array(one), np.array(found[1][1][name]), rtol=0, atol=1e-4 * scale)


def test_the_first_step_moves_a_weight_by_no_more_than_the_learning_rate(models, text, tmp_path):
    checkpoint = Checkpoint(models[1])
    network, settings = checkpoint.network("float32"), short(full=True)
    layers = adapt(network, settings)
    data = training_data(text, checkpoint.tokenizer().tokenizer, checkpoint.config, settings)
    run = Training(network, Checkpoint(models[0]).network("float32"), data, settings, tmp_path, "one")
    before = {name: layer.weight for name, layer in layers.items()}
    run._step(nn.value_and_grad(network, training_loss))
    for name, layer in layers.items():
        moved, zero = mx.abs(layer.weight - before[name]), before[name] == 0
        assert moved.max().item() == pytest.approx(settings.rate, rel=0.01)
        assert mx.where(zero, moved, 0).max().item() == 0


def test_training_brings_the_held_out_loss_down(models, text, tmp_path):
    record = recovered_copy(models[1], tmp_path / "out", text, steps=20, rank=8)
    found = record.recovery
    assert found.held_out["recovered"]["divergence"] < found.held_out["pruned"]["divergence"]
    assert found.teacher == str(models[0])
    assert found.tokens == record.entries["recovery"]["steps_tried"] * 2 * 15


def test_training_on_the_text_alone_needs_no_teacher(models, text, tmp_path):
    record = recovered_copy(models[1], tmp_path / "out", text, steps=20, loss="text")
    losses = record.recovery.held_out
    assert set(losses) == {"pruned", "recovered"}
    assert losses["recovered"]["loss"] < losses["pruned"]["loss"]
    assert losses["recovered"]["divergence"] is None


def test_losses_that_the_first_step_left_are_not_measured_again(models, text, tmp_path, monkeypatch):
    passes = []

    def counted(*given):
        passes.append(1)
        return held_out_losses(*given)

    for place in (training, first_step):
        monkeypatch.setattr(place, "held_out_losses", counted)
    record = recovered_copy(models[1], tmp_path / "out", text, steps=10, first_step="auto", patience=9)
    entry = record.entries["recovery"]
    first = entry["first_step"]
    assert first["taken"]
    assert entry["evaluations"][0] == {"step": 0, **first["held_out"]}
    assert [one["step"] for one in entry["evaluations"]] == [0, 2, 4, 6, 8, 10]
    assert len(passes) == 2 + 5


def test_training_that_makes_things_worse_ends_early_and_keeps_the_first_weights(models, text, tmp_path):
    record = recovered_copy(models[1], tmp_path / "out", text, steps=100, learning_rate=0.99, patience=3)
    entry = record.entries["recovery"]
    assert record.recovery.steps == 0
    assert entry["steps_tried"] == 60  # an evaluation every twenty steps
    before, after = values(models[1]), values(tmp_path / "out")
    assert all((before[name] == after[name]).all() for name in before)


def test_a_loss_that_is_no_number_is_refused(models, text, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "training_loss", lambda *_: mx.array(float("nan")) + 0 * _[1].sum())
    with pytest.raises(DataError, match="loss of step 1 is not a number"):
        recovered_copy(models[1], tmp_path / "out", text)
    assert not (tmp_path / "out").exists()


def killed_at(step: int, pruned: Path, out: Path, text: Path, settings: dict) -> None:
    code = f"""
        import os, signal
        from mlx_prune.recovery import training
        from mlx_prune.recovery.job import recover
        from mlx_prune.recovery.settings import Recovery
        training._SECONDS_BETWEEN_STATES, training._TIMES_OF_A_STATE = -1.0, 0.0
        def told(report):
            if report.done == {step}:
                os.kill(os.getpid(), signal.SIGKILL)
        settings = Recovery(**{settings!r})
        recover({str(pruned)!r}, {str(out)!r}, data={str(text)!r}, settings=settings, progress=told)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("full", [False, True])
def test_a_killed_recovery_carries_on_to_the_same_weights(models, text, tmp_path, full):
    settings = SHORT | {"steps": 12, "full": full, "learning_rate": 0.0005, "patience": 12}
    whole = recovered_copy(models[1], tmp_path / "whole", text, **settings)
    killed_at(8, models[1], tmp_path / "out", text, settings)
    assert not (tmp_path / "out").exists()
    partial = tmp_path / ".out.partial"
    assert (partial / STATE_FILE).is_file()
    told = []
    resumed = recover(
        models[1], tmp_path / "out", data=text, settings=short(**settings), progress=told.append
    )
    assert [report.done for report in told] == [8, 9, 10, 11, 12]  # the state was written before the eighth
    expected, found = values(tmp_path / "whole"), values(tmp_path / "out")
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6)
    assert not partial.exists()
    assert not (tmp_path / "out" / STATE_FILE).exists()
    for one, other in zip(
        whole.entries["recovery"]["evaluations"], resumed.entries["recovery"]["evaluations"], strict=True
    ):
        assert one["step"] == other["step"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_a_damaged_state_is_not_carried_on_from(models, text, tmp_path):
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / STATE_FILE).write_bytes(b"\x40\0\0\0\0\0\0\0{cut off")
    told = []
    recover(models[1], tmp_path / "out", data=text, settings=short(steps=4), progress=told.append)
    assert [report.done for report in told] == [1, 2, 3, 4]


def test_every_sequence_is_seen_once_in_an_epoch(models, text):
    tokenizer = Checkpoint(models[1]).tokenizer().tokenizer
    data = training_data(text, tokenizer, {}, short())
    run = Training.__new__(Training)
    run.data, run.settings = data, short()
    count = len(data.train)
    drawn = [index for step in range(count) for index in run._batch(step)]
    assert sorted(drawn[:count]) == sorted(drawn[count : 2 * count]) == list(range(count))
    assert drawn[:count] != drawn[count : 2 * count]
