"""Routers and experts in NumPy, against which activations of mixtures are measured."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.checkpoint.open import LoadedModel

BY_HAND = ("mixtral", "qwen3_moe", "olmoe", "deepseek_v3")


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


@dataclass
class ByHand:
    """The tokens of one expert: what enters, what enters its last layer, what leaves, its weight."""

    inputs: np.ndarray
    inner: np.ndarray
    outputs: np.ndarray
    shares: np.ndarray


def routed_by_hand(model: LoadedModel, name: str, x: np.ndarray, gate) -> tuple[np.ndarray, np.ndarray]:
    """Which experts each token goes to, [tokens, k], and with what weight."""
    config = model.config
    weight = np.array(gate.weight, dtype=np.float64)
    logits, k = x @ weight.T, config["num_experts_per_tok"]
    if name == "deepseek_v3":
        scores = 1 / (1 + np.exp(-logits))
        biased = scores + np.array(gate.e_score_correction_bias, dtype=np.float64)
        groups = np.sort(biased.reshape(len(x), config["n_group"], -1), axis=2)[:, :, -2:].sum(axis=2)
        best = np.repeat(groups == groups.max(axis=1, keepdims=True), biased.shape[1] // 2, axis=1)
        chosen = np.argsort(np.where(best, biased, 0.0), axis=1)[:, -k:]
        taken = np.take_along_axis(scores, chosen, axis=1)
        return chosen, config["routed_scaling_factor"] * taken / taken.sum(axis=1, keepdims=True)
    chosen = np.argsort(logits, axis=1)[:, -k:]
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    taken = np.take_along_axis(probabilities, chosen, axis=1)
    return chosen, taken if name == "olmoe" else taken / taken.sum(axis=1, keepdims=True)


def experts_by_hand(model: LoadedModel, name: str, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of every layer of every expert of a model, [tokens, features] float64, in a forward pass."""
    return {
        f"{path}.{layer}[{expert}]": inputs
        for path, experts in mixtures_by_hand(model, name, tokens).items()
        for expert, found in enumerate(experts)
        for layer, inputs in (
            ("gate_proj", found.inputs),
            ("up_proj", found.inputs),
            ("down_proj", found.inner),
        )
    }


def mixtures_by_hand(model: LoadedModel, name: str, tokens: np.ndarray) -> dict[str, list[ByHand]]:
    """What every expert of a model does with the tokens routed to it, by the path of its stack."""
    network = model.model.model
    hidden = network.embed_tokens(mx.array(tokens))
    mask = mx.tril(mx.ones((tokens.shape[1], tokens.shape[1]))).astype(mx.bool_)
    mixtures: dict[str, list[ByHand]] = {}
    for index, block in enumerate(blocks(model.model)):
        after = block(hidden, mask, None)
        attended = hidden + block.self_attn(block.input_layernorm(hidden), mask, None)
        x = np.array(block.post_attention_layernorm(attended), dtype=np.float64).reshape(-1, hidden.shape[-1])
        inside = "block_sparse_moe" if name == "mixtral" else "mlp"
        layer = getattr(block, inside)
        if hasattr(layer, "switch_mlp"):
            chosen, shares = routed_by_hand(model, name, x, layer.gate)
            gate, up, down = (
                np.array(getattr(layer.switch_mlp, f"{p}_proj").weight, dtype=np.float64)
                for p in ("gate", "up", "down")
            )
            result = np.zeros_like(x)
            path = f"model.layers.{index}.{inside}.switch_mlp"
            for expert in range(len(gate)):
                token, place = np.nonzero(chosen == expert)
                mine = x[token]
                inner = silu(mine @ gate[expert].T) * (mine @ up[expert].T)
                outputs, own = inner @ down[expert].T, shares[token, place]
                mixtures.setdefault(path, []).append(ByHand(mine, inner, outputs, own))
                np.add.at(result, token, own[:, None] * outputs)
            if name == "deepseek_v3":
                result += np.array(layer.shared_experts(mx.array(x.astype(np.float32))), dtype=np.float64)
            # The router by hand is the model's own, or the block would come out differently.
            whole = np.array(attended, dtype=np.float64).reshape(x.shape) + result
            np.testing.assert_allclose(np.array(after).reshape(x.shape), whole, atol=2e-5)
        hidden = after
    return mixtures
