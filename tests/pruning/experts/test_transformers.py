"""Against transformers: equal logits of the smaller folder, and scores from what its own modules receive."""

from __future__ import annotations

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from stock_logits import TOKENS
from tiny_experts import ONE_BY_ONE, save_tiny_experts

from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.open import load
from mlx_prune.pruning.experts.prune import prune_experts
from mlx_prune.pruning.experts.recipe import ExpertsRecipe


def theirs(folder):
    """The model as transformers loads it, in float32."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    settings = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return torch, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings)


@pytest.mark.torch
@pytest.mark.parametrize("architecture", [*ONE_BY_ONE, "granitemoe"])
def test_transformers_loads_it_with_equal_logits(tmp_path, architecture, calibration):
    more = {"n_routed_experts": 12} if architecture == "deepseek_v3" else {}
    source = save_tiny_experts(tmp_path / "m", architecture, shards=2, **more)
    prune_experts(source, tmp_path / "out", ExpertsRecipe("experts", 0.36, calibration=calibration))
    torch, model = theirs(tmp_path / "out")
    with torch.no_grad():
        logits = model(torch.tensor(TOKENS)).logits.numpy()
    stock, _ = mlx_lm.load(str(tmp_path / "out"))
    np.testing.assert_allclose(logits, np.array(stock(mx.array(TOKENS))), atol=2e-4)


@pytest.mark.torch
@pytest.mark.parametrize("architecture", ["mixtral", "qwen3_moe"])
def test_scores_are_those_of_hooks_on_transformers_modules(tmp_path, architecture, calibration):
    source = save_tiny_experts(tmp_path / "m", architecture, seed=6)
    found = {}
    for score in ("reap", "ean", "frequency"):
        recipe = ExpertsRecipe("experts", 0.36, score=score, calibration=calibration)
        found[score] = prune_experts(source, tmp_path / score, recipe).removed["experts"]
    loaded = load(source)
    tokens = calibration_tokens(calibration, loaded.tokenizer, loaded.config, 0).tokens
    torch, model = theirs(source)
    seen = {}
    for block, layer in enumerate(model.model.layers):
        mixture = getattr(layer, "mlp", None) or layer.block_sparse_moe
        if hasattr(mixture, "experts"):
            mixture.register_forward_pre_hook(
                lambda _, args, block=block: seen.setdefault(block, []).append(args[0].detach().double())
            )
    with torch.no_grad():
        model(torch.tensor(tokens.astype(np.int64)))
    weights = {name: values.double().numpy() for name, values in model.state_dict().items()}
    blocks = found["reap"]["blocks"]
    assert sorted(seen) == blocks
    for number, block in enumerate(blocks):
        x = torch.cat(seen[block]).reshape(-1, seen[block][0].shape[-1]).numpy()
        own = {
            n.partition(f"layers.{block}.mlp.")[2]: v
            for n, v in weights.items()
            if f"layers.{block}.mlp" in n
        }
        logits = x @ own["gate.weight"].T
        chosen = np.argsort(-logits, axis=1)[:, : loaded.config["num_experts_per_tok"]]
        shares = np.exp(np.take_along_axis(logits, chosen, axis=1))
        shares /= shares.sum(axis=1, keepdims=True)
        for expert in range(5):
            gate, up = np.split(own["experts.gate_up_proj"][expert], 2)
            token, place = np.nonzero(chosen == expert)
            inner = x[token] @ gate.T
            outputs = (inner / (1 + np.exp(-inner)) * (x[token] @ up.T)) @ own["experts.down_proj"][expert].T
            lengths = np.linalg.norm(outputs, axis=1)
            wanted = {"reap": np.mean(shares[token, place] * lengths), "ean": lengths.sum()}
            wanted["frequency"] = len(token)
            for score, value in wanted.items():
                assert found[score]["scores"][number][expert] == pytest.approx(value, rel=1e-5)
