"""Write a Llama-shaped model of any size with random weights, one tensor in memory at a time."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

_STORED = {"float32": ("F32", 4), "bfloat16": ("BF16", 2)}


def llama_config(width: int, blocks: int, vocabulary: int = 1000) -> dict[str, Any]:
    """The usual proportions: heads of 64, a quarter of them for keys, an MLP of 2.75 x the width."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": width,
        "intermediate_size": width * 11 // 4,
        "num_hidden_layers": blocks,
        "num_attention_heads": width // 64,
        "num_key_value_heads": max(1, width // 256),
        "head_dim": 64,
        "vocab_size": vocabulary,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }


def write_model(folder: Path, config: dict[str, Any], *, dtype: str, seed: int = 0) -> None:
    """Write config.json and model.safetensors."""
    width, mlp = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], width)}
    for block in range(config["num_hidden_layers"]):
        name = f"model.layers.{block}"
        shapes |= {
            f"{name}.input_layernorm.weight": (width,),
            f"{name}.self_attn.q_proj.weight": (width, width),
            f"{name}.self_attn.k_proj.weight": (keys, width),
            f"{name}.self_attn.v_proj.weight": (keys, width),
            f"{name}.self_attn.o_proj.weight": (width, width),
            f"{name}.post_attention_layernorm.weight": (width,),
            f"{name}.mlp.gate_proj.weight": (mlp, width),
            f"{name}.mlp.up_proj.weight": (mlp, width),
            f"{name}.mlp.down_proj.weight": (width, mlp),
        }
    shapes["model.norm.weight"] = (width,)
    (folder / "config.json").write_text(json.dumps(config))
    stored, item = _STORED[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + item * int(np.prod(shape))
        header[name] = {"dtype": stored, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    rng = np.random.default_rng(seed)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            bits = _random(rng, shape).view(np.uint32)
            out.write(bits.data if dtype == "float32" else (bits >> 16).astype(np.uint16).data)


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        return np.ones(shape, dtype=np.float32)
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(shape[-1] ** -0.5)
    return values
