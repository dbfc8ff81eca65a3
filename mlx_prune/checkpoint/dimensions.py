"""What a config.json must say of a narrower or shallower model, and the network mlx-lm builds from it."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

import mlx.nn as nn
from mlx_lm.utils import _get_classes

from mlx_prune.checkpoint.config import DEPTH_KEYS
from mlx_prune.errors import RecipeError, one_line

_NEURON_KEYS = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "hidden_dim", "mlp_hidden_size")
# Lists with an entry per block, by the names that mlx-lm's and transformers' architectures have for them.
BLOCK_LISTS = frozenset(
    {
        "activation_sparsity_pattern",
        "attention_layers",
        "block_configs",
        "compress_ratios",
        "ffn_multipliers",
        "hybrid_layer_pattern",
        "hybrid_override_pattern",
        "intermediate_size",
        "is_moe_layer",
        "layer_rope_theta",
        "layer_types",
        "layers_block_type",
        "mlp_layer_types",
        "moe_layer_freq",
        "no_rope_layers",
        "num_attention_heads",
        "num_attention_heads_per_layer",
        "num_key_value_heads",
        "num_kv_heads",
        "num_query_heads",
        "partial_rotary_factors",
        "rope_theta",
        "sparse_attention_freq",
        "swiglu_limits",
        "swiglu_limits_shared",
    }
)
# Lists of block indices, and counts of blocks at the beginning.
_INDEX_LISTS = ("mlp_only_layers", "full_attn_idxs", "sliding_window_layers", "global_attention_layers")
_LEADING_COUNTS = ("first_k_dense_replace", "num_dense_layers", "max_window_layers", "n_dense_layers")


def section(config: dict[str, Any], keys: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The part of a config that holds one of some keys (itself or its text_config), and the key.

    Raises:
        RecipeError: None of them is there.
    """
    for part in (config, config.get("text_config")):
        for key in keys:
            if isinstance(part, dict) and part.get(key) is not None:
                return part, key
    raise RecipeError(f"The model's config.json states no {' or '.join(keys[:2])}, so it cannot be changed.")


def with_neurons(config: dict[str, Any], neurons: int) -> dict[str, Any]:
    """The config of a model with another number of MLP neurons in every block.

    Raises:
        RecipeError: The config states no such number, or one per block.
    """
    changed = copy.deepcopy(config)
    part, key = section(changed, _NEURON_KEYS)
    part[key] = neurons
    return changed


def neurons_of(config: dict[str, Any]) -> int:
    """MLP neurons in each block, as the config states them.

    Raises:
        RecipeError: It states none, or a number per block.
    """
    part, key = section(config, _NEURON_KEYS)
    if not isinstance(part[key], int):
        raise RecipeError(f"The model's {key} is not one number for all blocks, so width cannot change it.")
    return int(part[key])


def heads_of(config: dict[str, Any]) -> tuple[int, int, int]:
    """Query heads, key-value groups and head size, as the config states them.

    Raises:
        RecipeError: It states no number of heads, or the heads do not divide into groups.
    """
    part, _ = section(config, ("num_attention_heads",))
    queries = part["num_attention_heads"]
    groups = part.get("num_key_value_heads") or queries
    if not isinstance(queries, int) or not isinstance(groups, int):
        raise RecipeError("The model's attention heads are not one number for all blocks, so none can go.")
    if groups < 1 or queries % groups:
        raise RecipeError(
            f"The model's config.json divides {queries} query heads into {groups} groups, which leaves a "
            "rest, so none can go."
        )
    return queries, groups, int(part.get("head_dim") or part["hidden_size"] // queries)


def with_groups(config: dict[str, Any], groups: int) -> dict[str, Any]:
    """The config of a model with fewer key-value groups in every block, each with its query heads."""
    changed = copy.deepcopy(config)
    queries, before, head = heads_of(config)
    part, _ = section(changed, ("num_attention_heads",))
    part |= {
        "num_attention_heads": groups * (queries // before),
        "num_key_value_heads": groups,
        "head_dim": head,
    }
    return changed


def with_blocks(
    config: dict[str, Any], kept: Sequence[int], lists: Container[str] = BLOCK_LISTS
) -> dict[str, Any]:
    """The config of a model with some of its blocks.

    Args:
        config: Of the whole model.
        kept: Indices of the blocks that stay, ascending.
        lists: Names of the lists that have an entry per block; others stay, however long they are.

    Returns:
        A config whose number of blocks, lists with an entry per block, lists of block indices and counts of
        leading blocks are those of the blocks that stay.
    """
    changed = copy.deepcopy(config)
    part, key = section(changed, DEPTH_KEYS)
    count = part[key]
    for where in (changed, part) if part is not changed else (part,):
        for name, value in where.items():
            if name in _INDEX_LISTS and isinstance(value, list):
                where[name] = [new for new, old in enumerate(kept) if old in value]
            elif name in _LEADING_COUNTS and isinstance(value, int):
                where[name] = sum(old < value for old in kept)
            elif name in lists and as_long(value, count):
                where[name] = [value[old] for old in kept]
    part[key] = len(kept)
    return changed


def without_lists(config: dict[str, Any], depth: int) -> dict[str, Any]:
    """The config with another number of blocks, and without any list as long as the model is deep."""
    changed = copy.deepcopy(config)
    part, key = section(changed, DEPTH_KEYS)
    count = part[key]
    for where in (changed, part):
        for name in [name for name, value in where.items() if as_long(value, count)]:
            if name != "architectures":
                del where[name]
    part[key] = depth
    return changed


def as_long(value: Any, blocks: int) -> bool:
    """Whether an entry of a config is a list of as many values as there are blocks."""
    return isinstance(value, list) and len(value) == blocks


def depth_of(config: dict[str, Any]) -> int:
    """Number of blocks, as the config states it."""
    part, key = section(config, DEPTH_KEYS)
    return int(part[key])


def build(config: dict[str, Any]) -> nn.Module:
    """The network that mlx-lm builds from a config, its weights random and never evaluated.

    Raises:
        RecipeError: mlx-lm cannot build it.
    """
    if config.get("model_file") is not None:
        raise RecipeError(
            "The model brings its own Python code, whose configuration is not known here; "
            "prune it by random, magnitude or Wanda."
        )
    try:
        model_class, arguments = _get_classes(config)
        # Some architectures write into the dictionaries they are given.
        network: nn.Module = model_class(arguments.from_dict(copy.deepcopy(config)))
    except Exception as error:  # whatever an architecture's constructor raises
        raise RecipeError(
            f"mlx-lm cannot build the smaller model from its configuration ({one_line(error)})."
        ) from error
    return network
