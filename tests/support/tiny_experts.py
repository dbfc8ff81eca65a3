"""Small random mixture-of-experts models, saved as the Hub holds them: experts one by one, stacked or fused.

Sizes are odd, as in ``tiny_models``; hidden and expert sizes have a common factor in most, as they have in
every trained model, and none in olmoe.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import _COMMON, random_weights, save_tokenizer, save_weights, tiny_tokenizer_json

EXPERTS = 5

_SPECIFIC: dict[str, dict[str, Any]] = {
    "mixtral": {
        "architectures": ["MixtralForCausalLM"],
        "hidden_size": 42,
        "intermediate_size": 63,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "hidden_act": "silu",
        "sliding_window": None,
    },
    "qwen3_moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "hidden_size": 40,
        "intermediate_size": 51,
        "moe_intermediate_size": 24,
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "head_dim": 6,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 3,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [1],
        "norm_topk_prob": True,
        "attention_bias": False,
        "hidden_act": "silu",
    },
    "qwen2_moe": {
        "architectures": ["Qwen2MoeForCausalLM"],
        "hidden_size": 40,
        "intermediate_size": 52,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 28,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "norm_topk_prob": False,
        "hidden_act": "silu",
    },
    "olmoe": {
        "architectures": ["OlmoeForCausalLM"],
        "hidden_size": 36,
        "intermediate_size": 25,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "norm_topk_prob": False,
        "attention_bias": False,
        "clip_qkv": None,
        "hidden_act": "silu",
    },
    "deepseek_v3": {
        "architectures": ["DeepseekV3ForCausalLM"],
        "hidden_size": 36,
        "intermediate_size": 50,
        "moe_intermediate_size": 27,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "routed_scaling_factor": 2.5,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "kv_lora_rank": 20,
        "q_lora_rank": 22,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 10,
        "v_head_dim": 12,
        "head_dim": 8,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "norm_topk_prob": True,
        "attention_bias": False,
        "rope_scaling": None,
        "hidden_act": "silu",
    },
    "granitemoe": {
        "architectures": ["GraniteMoeForCausalLM"],
        "hidden_size": 36,
        "intermediate_size": 27,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "logits_scaling": 1.0,
        "attention_multiplier": 0.3,
        "embedding_multiplier": 1.5,
        "residual_multiplier": 0.7,
        "attention_bias": False,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
    # As converted by mlx-lm, which reads no dense checkpoint of the original layout.
    "gpt_oss": {
        "architectures": ["GptOssForCausalLM"],
        "hidden_size": 36,
        "intermediate_size": 27,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
}
MIXTURES = tuple(_SPECIFIC)
ONE_BY_ONE = ("mixtral", "qwen3_moe", "qwen2_moe", "olmoe", "deepseek_v3")


def save_tiny_experts(
    folder: Path,
    architecture: str = "mixtral",
    *,
    dtype: str = "float32",
    seed: int = 0,
    shards: int = 1,
    change: Callable[[dict[str, np.ndarray]], None] | None = None,
    **overrides: Any,
) -> Path:
    """Write a folder that mlx-lm and (but for gpt_oss) transformers load.

    Args:
        folder: Created if absent.
        architecture: One of ``MIXTURES``.
        dtype: Storage type of the weights.
        seed: Of the weights.
        shards: Number of safetensors files.
        change: Changes the weights, by their names in the files.
        **overrides: Config entries.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = len(json.loads(tiny_tokenizer_json())["model"]["vocab"])
    config = {
        "model_type": architecture,
        "vocab_size": vocabulary,
        **_COMMON,
        **_SPECIFIC[architecture],
        "torch_dtype": dtype,
        **overrides,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    weights = _as_on_the_hub(random_weights(config, seed), config)
    if change is not None:
        change(weights)
    save_weights(folder, weights, dtype, shards)
    save_tokenizer(folder)
    return folder


def _as_on_the_hub(weights: dict[str, np.ndarray], config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Undo what mlx-lm's loading does to the names and shapes."""
    architecture = config["model_type"]
    found: dict[str, np.ndarray] = {}
    for name, values in weights.items():
        prefix, _, projection = name.partition(".switch_mlp.")
        if projection and architecture == "granitemoe":
            if projection == "up_proj.weight":
                gate = weights[f"{prefix}.switch_mlp.gate_proj.weight"]
                found[f"{prefix}.input_linear.weight"] = np.concatenate([gate, values], axis=1)
            elif projection == "down_proj.weight":
                found[f"{prefix}.output_linear.weight"] = values
        elif projection:
            theirs = {"gate_proj.weight": "w1.weight", "up_proj.weight": "w3.weight"}
            theirs["down_proj.weight"] = "w2.weight"
            last = theirs[projection] if architecture == "mixtral" else projection
            found |= {f"{prefix}.experts.{e}.{last}": expert for e, expert in enumerate(values)}
        elif name.endswith(".embed_q.weight"):
            start = name.removesuffix(".embed_q.weight")
            both = np.concatenate([values.swapaxes(1, 2), weights[f"{start}.unembed_out.weight"]], axis=1)
            found[f"{start}.kv_b_proj.weight"] = both.reshape(-1, config["kv_lora_rank"])
        elif name.endswith("e_score_correction_bias"):
            # Groups left out count 0: below that a choice would be among ties.
            found[name] = np.abs(values)
        elif not name.endswith(".unembed_out.weight"):
            found[name] = values
    return found
