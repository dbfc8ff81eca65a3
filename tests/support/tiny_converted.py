"""Small random mixtures of many families, as mlx-lm's own conversion writes them: experts in stacks."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import _COMMON, random_weights, save_tokenizer, save_weights, tiny_tokenizer_json

# Entries by all the names that architectures have for them; each takes those it knows.
_ENTRIES: dict[str, Any] = {
    **_COMMON,
    "hidden_size": 48,
    "intermediate_size": 40,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 6),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace", "moe_layer_freq"), 1),
    "routed_scaling_factor": 1.5,
    "kv_lora_rank": 20,
    "q_lora_rank": 22,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 12,
    "norm_topk_prob": True,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "rope_scaling": None,
    "use_qk_norm": True,
    "rotary_dim": 12,
    "partial_rotary_factor": 1.0,
    "hidden_act": "silu",
    "layer_norm_eps": 1e-5,
}
_YARN = {
    **{"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 256, "beta_fast": 32},
    **{"beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.0},
}
_SPECIFIC: dict[str, dict[str, Any]] = {
    "deepseek": {"num_key_value_heads": 4},
    # The best groups are chosen first, of three.
    "deepseek_v2": {
        **{"topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2, "n_routed_experts": 9},
        **{"num_key_value_heads": 4, "rope_scaling": _YARN},
    },
    "glm4_moe": {},
    "glm4_moe_lite": {"num_key_value_heads": 4},
    "dots1": {},
    "ernie4_5_moe": {
        **{"moe_layer_start_index": 0, "moe_layer_end_index": 2, "moe_layer_interval": 1},
        **{"moe_gate_act": "softmax", "use_bias": False},
    },
    "phimoe": {},
    "minimax": {"shared_intermediate_size": 16},
    "bailing_moe": {
        **{"norm_head": False, "use_bias": False, "use_qkv_bias": False, "score_function": "sigmoid"},
        "moe_router_enable_expert_bias": True,
    },
    "Klear": {},
    "afmoe": {
        **{"layer_types": ["full_attention"] * 3, "num_dense_layers": 1, "score_func": "sigmoid"},
        **{"route_norm": True, "route_scale": 1.0, "mup_enabled": False, "global_attn_every_n_layers": 2},
    },
    "qwen3_next": {
        **{"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8},
        **{"linear_value_head_dim": 8, "linear_conv_kernel_dim": 3, "full_attention_interval": 2},
        "num_hidden_layers": 2,
    },
    # The router's weight goes into the expert, not behind it.
    "llama4": {
        "text_config": {
            **{name: _ENTRIES[name] for name in ("hidden_size", "intermediate_size", "head_dim")},
            **{name: _ENTRIES[name] for name in ("num_attention_heads", "num_key_value_heads")},
            **{name: _ENTRIES[name] for name in ("rms_norm_eps", "rope_theta", "num_local_experts")},
            **{"max_position_embeddings": 512, "attention_bias": False, "attention_chunk_size": 64},
            **{"interleave_moe_layer_step": 1, "intermediate_size_mlp": 40, "use_qk_norm": False},
            **{"rope_scaling": None, "num_hidden_layers": 4, "num_experts_per_tok": 1},
            "model_type": "llama4_text",
        },
    },
    "exaone_moe": {
        **{"sliding_window": 64, "is_moe_layer": [False, True, True], "sliding_window_pattern": "LLG"},
        "layer_types": ["full_attention"] * 3,
    },
    "laguna": {"sliding_window": 64, "layer_types": ["full_attention"] * 3},
    # Two of its router's rows are for experts that compute nothing.
    "longcat_flash": {
        **{"attention_method": "MLA", "zero_expert_type": "identity", "zero_expert_num": 2, "num_layers": 2},
        **{"ffn_hidden_size": 40, "expert_ffn_hidden_size": 24},
        **{"mla_scale_q_lora": True, "mla_scale_kv_lora": True},
    },
}
CONVERTED = tuple(_SPECIFIC)


def save_tiny_converted(folder: Path, architecture: str, **overrides: Any) -> Path:
    """Write a folder that mlx-lm loads.

    Args:
        folder: Created if absent.
        architecture: One of ``CONVERTED``.
        **overrides: Config entries.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = _SPECIFIC[architecture] | overrides
    arguments = importlib.import_module(f"mlx_lm.models.{architecture}").ModelArgs
    known = {field.name for field in dataclasses.fields(arguments)}
    config = {name: value for name, value in _ENTRIES.items() if name in known} | own
    vocabulary = {"vocab_size": len(json.loads(tiny_tokenizer_json())["model"]["vocab"])}
    config |= {"model_type": architecture, "torch_dtype": "float32", **vocabulary}
    if "text_config" in config:
        config["text_config"] = config["text_config"] | vocabulary
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    weights = random_weights(config)
    # Below zero, experts that are left out of a choice would be among those that are not.
    weights = {name: np.abs(values) if "bias" in name else values for name, values in weights.items()}
    save_weights(folder, weights)
    save_tokenizer(folder)
    return folder
