"""A model without some experts computes what the whole one does whose routers cannot see them."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from masked_experts import experts_hidden
from stock_logits import TOKENS, assert_close
from tiny_converted import CONVERTED, save_tiny_converted
from tiny_experts import MIXTURES, save_tiny_experts

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.pruning.experts.mixtures import mixtures_of
from mlx_prune.pruning.experts.prune import prune_experts
from mlx_prune.pruning.experts.recipe import ExpertsRecipe

_MORE = {"deepseek_v3": {"n_routed_experts": 12, "topk_group": 1}}


def hidden_logits(source: Path, removed: dict[int, list[int]], experts: int) -> np.ndarray:
    """Logits of a whole model with the scores of some experts at minus infinity."""
    checkpoint = Checkpoint.open(source)
    network = checkpoint.network("float32")
    mixtures = mixtures_of(network, checkpoint.config, experts, experts - len(next(iter(removed.values()))))
    with experts_hidden(network, mixtures, removed):
        return np.array(network(mx.array(TOKENS)))


@pytest.mark.parametrize("architecture", [*MIXTURES, *CONVERTED])
def test_logits_are_those_of_the_whole_model_that_cannot_see_the_removed_experts(
    tmp_path, architecture, calibration
):
    if architecture in CONVERTED:
        source = save_tiny_converted(tmp_path / "m", architecture)
    else:
        source = save_tiny_experts(tmp_path / "m", architecture, shards=2, **_MORE.get(architecture, {}))
    report = prune_experts(source, tmp_path / "out", ExpertsRecipe("experts", 0.36, calibration=calibration))
    experts = report.removed["experts"]
    assert experts["before"] - experts["after"] == {5: 2, 6: 2, 9: 3, 12: 4}[experts["before"]]
    removed = dict(zip(experts["blocks"], experts["removed"], strict=True))
    assert all(len(gone) == experts["before"] - experts["after"] for gone in removed.values())
    stock, _ = mlx_lm.load(str(tmp_path / "out"))
    stock.set_dtype(mx.float32)
    found = np.array(stock(mx.array(TOKENS)))
    assert_close(found, hidden_logits(source, removed, experts["before"]))
    # Not what any experts would give: the whole model itself is something else.
    whole = np.array(Checkpoint.open(source).network("float32")(mx.array(TOKENS)))
    assert np.abs(found - whole).max() > 1e-3 * np.abs(whole).max()


def test_blocks_that_predict_further_tokens_are_left_out_of_deepseek(tmp_path):
    depth = 61  # mlx-lm leaves the block after so many out, whatever the configuration says

    def predict_further(weights: dict[str, np.ndarray]) -> None:
        last = f"model.layers.{depth - 1}."
        own = {name: values for name, values in weights.items() if name.startswith(last)}
        further = f"model.layers.{depth}."
        weights |= {further + name.removeprefix(last): values for name, values in own.items()}
        weights[further + "eh_proj.weight"] = np.ones((36, 72), dtype=np.float32)

    sizes = {"num_hidden_layers": depth, "first_k_dense_replace": depth - 2, "num_nextn_predict_layers": 1}
    more = _MORE["deepseek_v3"] | sizes
    source = save_tiny_experts(tmp_path / "m", "deepseek_v3", shards=2, change=predict_further, **more)
    report = prune_experts(source, tmp_path / "out", ExpertsRecipe("experts", 0.36, score="random"))
    experts = report.removed["experts"]
    before, after = (open_shards(folder).tensors for folder in (source, tmp_path / "out"))
    beyond = {name for name in before if name.startswith(f"model.layers.{depth}.")}
    assert experts["blocks"] == [depth - 2, depth - 1]
    assert experts["left_out"] == len(beyond) > 12  # of experts, among others
    assert not any(name.startswith(f"model.layers.{depth}.") for name in after)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_nextn_predict_layers"] == 0
    stock, _ = mlx_lm.load(str(tmp_path / "out"))
    stock.set_dtype(mx.float32)
    removed = dict(zip(experts["blocks"], experts["removed"], strict=True))
    assert_close(np.array(stock(mx.array(TOKENS))), hidden_logits(source, removed, experts["before"]))
