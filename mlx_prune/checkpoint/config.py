"""A model folder's config.json: read, made to say what mlx-lm reads, and compared with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_prune.checkpoint.rope import lifted
from mlx_prune.errors import CheckpointError
from mlx_prune.json_files import read_object

CONFIG_FILE = "config.json"
MODELOPT_FILE = "hf_quant_config.json"  # NVIDIA ModelOpt keeps its settings beside config.json
DEPTH_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")

_TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts")


def read_config(path: Path) -> dict[str, Any]:
    """The folder's config.json; rotary positions (:mod:`.rope`) and ties stand where mlx-lm looks.

    Raises:
        CheckpointError: It is absent, no JSON object, or states rotary positions that cannot be understood.
    """
    stored = read_stored(path)
    if not isinstance(stored.get("text_config"), dict | None):
        raise CheckpointError(
            f"{path / CONFIG_FILE} gives text_config as {stored['text_config']!r}, and it has to be a JSON "
            "object; correct the file or download it again."
        )
    return lifted(_with_ties(stored), str(path / CONFIG_FILE))


def _with_ties(config: dict[str, Any]) -> dict[str, Any]:
    """The config with what it says of a tied head in its text part, too, where mlx-lm looks for it."""
    text, tied = config.get("text_config"), config.get("tie_word_embeddings")
    if text is None or tied is None or "tie_word_embeddings" in text:
        return config
    return {**config, "text_config": {**text, "tie_word_embeddings": tied}}


def read_stored(path: Path) -> dict[str, Any]:
    """The folder's config.json as it is.

    Raises:
        CheckpointError: It is absent or not a JSON object.
    """
    file = path / CONFIG_FILE
    if not file.is_file():
        raise CheckpointError(f"{path} holds no config.json, so it is not a model folder.")
    return read_object(file, CheckpointError, "correct it or download it again")


def entries_changed(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says otherwise than the folder's config.json does, by entry."""
    stored = read_stored(path)
    return {key: value for key, value in config.items() if key not in stored or stored[key] != value}


def check_plausible(path: Path, config: Mapping[str, Any], tensors: int) -> None:
    """Refuse a config that mlx-lm would try to build without an end.

    Args:
        path: The model folder.
        config: Its config.json.
        tensors: Number of tensors in its weight files.

    Raises:
        CheckpointError: It names no type of model, or more blocks than there are tensors.
    """
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{path / CONFIG_FILE} names no model_type, so mlx-lm cannot build the model.")
    for part in (config, config.get("text_config")):
        for key in DEPTH_KEYS if isinstance(part, Mapping) else ():
            count = part[key] if isinstance(part, Mapping) and key in part else None
            if isinstance(count, int | float) and count > tensors:
                raise CheckpointError(
                    f"{path / CONFIG_FILE} gives {key} as {count:,}, and the weight files hold {tensors:,} "
                    "tensors; correct the file or download it again."
                )


def is_quantized(path: Path, config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint says that its weights are quantized, in any of the places where tools say so."""
    parts = (config, config.get("text_config"))
    said = ("quantization", "quantization_config")
    if any(isinstance(part, Mapping) and part.get(key) for part in parts for key in said):
        return True
    return (path / MODELOPT_FILE).is_file()


def experts_per_token(config: dict[str, Any]) -> int | None:
    """How many experts of a stack each token is routed to; None where the configuration does not say."""
    inner = config.get("text_config")
    for entries in (config, inner if isinstance(inner, dict) else {}):
        for key in _TOP_K:
            if isinstance(entries.get(key), int) and entries[key] > 0:
                return int(entries[key])
    return None
