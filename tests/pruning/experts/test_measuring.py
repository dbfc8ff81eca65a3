"""What experts do on a text, against routers and experts written out in NumPy."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from experts_by_hand import BY_HAND, mixtures_by_hand
from tiny_experts import save_tiny_experts

from mlx_prune.activations import passes
from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import BlockSteps
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.pruning.experts.measuring import measure_block
from mlx_prune.pruning.experts.mixtures import mixtures_of, routing_of
from mlx_prune.pruning.experts.prune import prune_experts
from mlx_prune.pruning.experts.recipe import ExpertsRecipe
from mlx_prune.pruning.experts.scores import ExpertSums, ean, frequency, reap


def measured(model, data) -> dict[str, ExpertSums]:
    """What the experts of a model in memory do, by the path of their stack."""
    routing = routing_of(model.checkpoint, model.model)
    mixtures = mixtures_of(model.model, model.config, routing.experts, routing.experts // 2)
    of_block = {mixture.block: mixture for mixture in mixtures}
    linears = model.checkpoint.on_disk("float32").linears
    steps = BlockSteps(model.model, linears, data, config=model.config)
    steps.begin(HiddenStates(len(steps.batches)))
    found = {}
    for index in range(steps.count):
        if index in of_block:
            found[of_block[index].bank], _ = measure_block(model.model, of_block[index], steps)
        else:
            steps.advance(index)
    return found


@pytest.mark.parametrize("sizes", [(7, 29), (1, 13)], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("architecture", BY_HAND)
def test_scores_are_those_of_a_forward_pass_in_float64(
    tmp_path, architecture, sizes, calibration_file, monkeypatch
):
    model = load(save_tiny_experts(tmp_path / "m", architecture, seed=4))
    data = calibration_tokens(Calibration(calibration_file, *sizes), model.tokenizer, model.config, 0)
    expected = mixtures_by_hand(model, architecture, data.tokens)
    monkeypatch.setattr(passes, "batch_size", lambda *_: 3)
    found = measured(model, data)
    assert found.keys() == expected.keys()
    for path, experts in expected.items():
        lengths = [np.linalg.norm(one.outputs, axis=1) for one in experts]
        by_reap = [
            float(np.mean(one.shares * length)) if len(length) else 0.0
            for one, length in zip(experts, lengths, strict=True)
        ]
        np.testing.assert_array_equal(frequency(found[path]), [len(one.shares) for one in experts])
        np.testing.assert_allclose(reap(found[path]), by_reap, rtol=1e-5)
        np.testing.assert_allclose(ean(found[path]), [length.sum() for length in lengths], rtol=1e-5)
        largest = [np.abs(one.outputs).max(initial=0.0) for one in experts]
        np.testing.assert_allclose(found[path].largest, largest, rtol=1e-5)


def test_outputs_that_are_not_finite_are_refused(tmp_path, calibration):
    def damage(weights):
        name = next(name for name in weights if name.endswith("experts.1.w2.weight"))
        weights[name] = np.full_like(weights[name], np.inf)

    model = load(save_tiny_experts(tmp_path / "m", "mixtral", change=damage))
    data = calibration_tokens(calibration, model.tokenizer, model.config, 0)
    with pytest.raises(CheckpointError, match="block 0 overflow or are not finite"):
        measured(model, data)


def test_a_block_that_does_more_than_weigh_and_add_is_refused(tmp_path, calibration, monkeypatch):
    from mlx_lm.models.mixtral import MixtralSparseMoeBlock

    model = load(save_tiny_experts(tmp_path / "m", "mixtral"))
    data = calibration_tokens(calibration, model.tokenizer, model.config, 0)
    stock = MixtralSparseMoeBlock.__call__
    monkeypatch.setattr(MixtralSparseMoeBlock, "__call__", lambda self, x: mx.tanh(stock(self, x)))
    with pytest.raises(RecipeError, match="than to weigh and add them"):
        measured(model, data)


def test_blocks_that_cannot_run_one_by_one_leave_the_scores_without_a_text(
    tmp_path, calibration, monkeypatch
):
    from mlx_lm.models.mixtral import MixtralModel

    def with_more_between(self, inputs, cache=None):
        h = self.embed_tokens(inputs)
        for layer in self.layers:
            h = layer(2 * h, None, None)
        return self.norm(h)

    source = save_tiny_experts(tmp_path / "m", "mixtral")
    monkeypatch.setattr(MixtralModel, "__call__", with_more_between)
    with pytest.raises(CheckpointError, match=r"block by block; choose --score weight-norm or random\.$"):
        prune_experts(source, tmp_path / "out", ExpertsRecipe("experts", 0.4, calibration=calibration))
    assert not (tmp_path / "out").exists()
    recipe = ExpertsRecipe("experts", 0.4, score="weight-norm")
    assert prune_experts(source, tmp_path / "out", recipe).removed["experts"]["after"] == 3
