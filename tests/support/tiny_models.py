"""Small random models of several architectures, built from mlx-lm's own classes and saved as folders.

Sizes are odd on purpose: a kernel or a mask that only works on multiples of 32 fails here. Weights have
trained-like scales, so that logits neither vanish nor saturate. Everything follows from the seed.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)

ARCHITECTURES = ("llama", "mistral", "gemma2", "phi3", "qwen3")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

_COMMON: dict[str, Any] = {
    "num_hidden_layers": 3,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "tie_word_embeddings": False,
}
_SPECIFIC: dict[str, dict[str, Any]] = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 42,
        "intermediate_size": 53,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 14,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"],
        "hidden_size": 40,
        "intermediate_size": 61,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "hidden_act": "silu",
        "sliding_window": None,
    },
    "gemma2": {
        "architectures": ["Gemma2ForCausalLM"],
        "hidden_size": 33,
        "intermediate_size": 47,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 10,
        "query_pre_attn_scalar": 10,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 512,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
    "phi3": {
        "architectures": ["Phi3ForCausalLM"],
        "hidden_size": 36,
        "intermediate_size": 45,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "original_max_position_embeddings": 512,
        "hidden_act": "silu",
        "sliding_window": None,
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": 35,
        "intermediate_size": 51,
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "head_dim": 6,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
    },
}


@functools.cache
def tiny_tokenizer_json() -> str:
    """A byte-level BPE tokenizer of a few hundred tokens, as the text of a tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (
        "Answer the following multiple choice question by responding with only the letter of your answer. "
        "Context: Question: Answer: A) B) C) The teacher and the student were at the market. Who was late? "
        "Cannot be determined. Not enough information. The old man, the young woman, the doctor, the nurse. "
    )
    tokenizer.train_from_iterator([text] * 4, trainer)
    return tokenizer.to_str()


def tiny_config(architecture: str, **overrides: Any) -> dict[str, Any]:
    """The Hugging Face config of a tiny model; keyword arguments replace entries."""
    vocabulary = len(json.loads(tiny_tokenizer_json())["model"]["vocab"])
    return {
        "model_type": architecture,
        "vocab_size": vocabulary,
        **_COMMON,
        **_SPECIFIC[architecture],
        **overrides,
    }


def random_weights(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 weights by their checkpoint names, in the order of the names."""
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    model_class, args_class = _get_classes(config)
    shapes = {k: v.shape for k, v in tree_flatten(model_class(args_class.from_dict(config)).parameters())}
    rng = np.random.default_rng(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        values = rng.standard_normal(shape)
        if "norm" in name:
            # Gemma's norms multiply by 1 + weight.
            values = 0.1 * values + (0.0 if config["model_type"] == "gemma2" else 1.0)
        elif name.endswith(".bias"):
            values = 0.1 * values
        else:
            values = values / np.sqrt(shape[-1])
            if "embed" in name:
                values = 2 * values
        weights[name] = values.astype(np.float32)
    return weights


def save_weights(
    folder: Path, weights: dict[str, np.ndarray], dtype: str = "float32", shards: int = 1
) -> None:
    """Write weights as safetensors in the Hugging Face layout, with an index for several shards."""
    import mlx.core as mx

    names = list(weights)
    arrays = {name: mx.array(weights[name]).astype(getattr(mx, dtype)) for name in names}
    if shards == 1:
        mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "pt"})
        return
    weight_map = {}
    for index in range(shards):
        file = f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: arrays[name] for name in names[index::shards]}
        mx.save_safetensors(str(folder / file), part, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    index_json = {
        "metadata": {"total_size": sum(a.nbytes for a in arrays.values())},
        "weight_map": dict(sorted(weight_map.items())),
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_json, indent=2))


def save_tokenizer(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> None:
    """Write the tiny tokenizer's files."""
    (folder / "tokenizer.json").write_text(tiny_tokenizer_json(), encoding="utf-8")
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    if chat_template is not None:
        settings["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def save_tiny_model(
    folder: Path,
    architecture: str = "llama",
    *,
    dtype: str = "float32",
    seed: int = 0,
    shards: int = 1,
    chat_template: str | None = CHAT_TEMPLATE,
    **overrides: Any,
) -> Path:
    """Write a folder that mlx-lm and transformers load.

    Args:
        folder: Created if absent.
        architecture: One of ``ARCHITECTURES``.
        dtype: Storage type of the weights.
        seed: Of the weights.
        shards: Number of safetensors files; weights go round robin, so that a block spans several.
        chat_template: Jinja source, or None for a tokenizer without one.
        **overrides: Config entries, such as ``num_hidden_layers=5``.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(architecture, torch_dtype=dtype, **overrides)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}))
    (folder / "LICENSE").write_text("Tiny random weights, free to use.\n")
    save_weights(folder, random_weights(config, seed), dtype, shards)
    save_tokenizer(folder, chat_template)
    return folder


def weight_files(folder: Path) -> dict[str, bytes]:
    """The bytes of a folder's weight files and their index, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors*"))}
