"""Where the experts of a model are, and how many of them its configuration and its routing allow.

Nothing is known about architectures: the network is built once more from a configuration with fewer experts,
and the parameters whose shapes changed are those that hold something for each expert.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import SwitchGLU, SwitchMLP

from mlx_prune.checkpoint.config import experts_per_token
from mlx_prune.checkpoint.dimensions import build
from mlx_prune.checkpoint.matrices import block_modules, blocks, is_stack, weights_of
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import RecipeError

Indices = np.ndarray[Any, np.dtype[np.int64]]

_COUNT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_GROUP_KEYS = ("n_group", "num_expert_group")
_CHOSEN_GROUP_KEYS = ("topk_group",)
# The best two experts of a group stand for it where groups compete (DeepSeek-V3).
_FEWEST_IN_A_GROUP = 2


@dataclass(frozen=True)
class Mixture:
    """The experts of one block.

    Attributes:
        block: Index of the block.
        bank: Path of the module that runs the experts, called with (x, indices); None if it is none of
            mlx-lm's own, so that it can be cut and not watched.
        owner: Path of the module that calls it, and weighs and adds what it returns.
        stacks: Paths of the layers that hold a matrix of each expert.
        count: Number of experts.
        parameters: By path, the length of the first axis, which has an entry per expert; where a router also
            chooses among experts that compute nothing, theirs come last.
    """

    block: int
    bank: str | None
    owner: str
    stacks: tuple[str, ...]
    count: int
    parameters: Mapping[str, int]

    def rows(self, name: str, kept: Indices) -> Indices:
        """Indices of the first axis of a parameter that stay with some experts, ascending."""
        return np.concatenate([kept, np.arange(self.count, self.parameters[name])])

    def take(self, name: str, values: mx.array, kept: Indices) -> mx.array:
        """What of a parameter stays with some experts."""
        return mx.take(values, mx.array(self.rows(name, kept).astype(np.int32)), axis=0)


@dataclass(frozen=True)
class Routing:
    """What a configuration says of the experts of every mixture.

    Attributes:
        experts: How many there are.
        per_token: How many each token is routed to; None where the configuration does not say.
        groups: Into how many groups of neighbors they are divided, of which the router chooses first.
        chosen_groups: How many of these it chooses.
    """

    experts: int
    per_token: int | None
    groups: int = 1
    chosen_groups: int = 1

    def removed(self, share: float) -> int:
        """How many experts of each mixture go: as many of every group.

        Args:
            share: The fraction asked for.

        Raises:
            RecipeError: That is none, or too few would stay for a token.
        """
        removed = self.groups * round(self.experts * share / self.groups)
        kept = self.experts - removed
        if removed == 0:
            raise RecipeError(
                f"{100 * share:g} % of {self.experts} experts{self._in_groups} is none to remove; remove "
                "more."
            )
        reached = kept if self.groups == 1 else kept // self.groups * self.chosen_groups
        if kept < 1 or (self.per_token is not None and reached < self.per_token):
            raise RecipeError(
                f"Without {removed} of its {self.experts} experts a block has {kept}{self._in_groups}, and "
                f"each token is routed to {self.per_token or 1}; remove fewer."
            )
        if self.groups > 1 and kept // self.groups < _FEWEST_IN_A_GROUP:
            raise RecipeError(
                f"Without {removed} of its {self.experts} experts a block has {kept} in {self.groups} "
                f"groups, and a group is chosen by its best {_FEWEST_IN_A_GROUP}; remove fewer."
            )
        return removed

    @property
    def _in_groups(self) -> str:
        return f" in {self.groups} groups" if self.groups > 1 else ""


def routing_of(checkpoint: Checkpoint, network: nn.Module) -> Routing:
    """What the configuration says of a model's experts.

    Raises:
        RecipeError: The blocks hold no experts, or the configuration does not count them with one number.
    """
    sizes = {module.num_experts for _, _, _, module in block_modules(network) if is_stack(module)}
    if not sizes:
        raise RecipeError(
            f"{checkpoint.path} is no mixture of experts, so there are no experts to remove; use width or "
            "depth."
        )
    stated = {value for _, key, value in _counts(checkpoint.config) if value in sizes}
    if len(stated) != 1:
        raise RecipeError(
            f"The config.json of {checkpoint.path} does not count the experts of all blocks with one number "
            f"({' or '.join(_COUNT_KEYS[:3])}), so it cannot say that there are fewer."
        )
    groups = _first(checkpoint.config, _GROUP_KEYS) or 1
    return Routing(
        experts=stated.pop(),
        per_token=experts_per_token(checkpoint.config),
        groups=groups,
        chosen_groups=_first(checkpoint.config, _CHOSEN_GROUP_KEYS) or groups,
    )


def with_experts(config: dict[str, Any], before: int, after: int) -> dict[str, Any]:
    """The config of a model with another number of experts, wherever it states that number."""
    changed = copy.deepcopy(config)
    for part, key, value in _counts(changed):
        if value == before:
            part[key] = after
    return changed


def mixtures_of(network: nn.Module, config: dict[str, Any], before: int, after: int) -> list[Mixture]:
    """Find what each block holds for each of its experts.

    Args:
        network: The model, perhaps quantized; its weights are not evaluated.
        config: Its configuration.
        before: Its experts.
        after: A smaller number of them.

    Returns:
        The mixtures, block by block.

    Raises:
        RecipeError: With fewer experts, something else would change, too.
    """
    # Not the loaded network, which may be quantized, but two that are built alike.
    whole, fewer = weights_of(build(config)), weights_of(build(with_experts(config, before, after)))
    modules = dict(network.named_modules())
    found: dict[tuple[int, str], dict[str, int]] = {}
    owner_of = {name: block for block, name, _, _ in block_modules(network)}
    for name, values in whole.items():
        smaller = fewer.get(name)
        if smaller is not None and smaller.shape == values.shape:
            continue
        layer = name.rpartition(".")[0]
        if (
            smaller is None
            or not _fewer_rows(values.shape, smaller.shape, before - after)
            or layer not in modules
        ):
            raise RecipeError(_something_else(name))
        block = owner_of.get(layer)
        if block is None:
            raise RecipeError(_something_else(name))
        rows = values.shape[0]
        entries = found.setdefault((block, layer), {})
        entries[name] = rows
        if "scales" in modules[layer]:  # quantized: scales and biases beside the weight
            arrays = {own: a for own, a in modules[layer].items() if isinstance(a, mx.array)}
            entries.update((f"{layer}.{own}", rows) for own, a in arrays.items() if a.shape[:1] == (rows,))
    return list(_by_mixture(network, found, before))


def _by_mixture(
    network: nn.Module, found: Mapping[tuple[int, str], Mapping[str, int]], count: int
) -> Iterator[Mixture]:
    modules = dict(network.named_modules())
    for block in range(len(blocks(network))):
        layers = {layer: rows for (index, layer), rows in found.items() if index == block}
        stacks = tuple(layer for layer in layers if is_stack(modules[layer]))
        if not layers:
            continue
        banks = {layer.rpartition(".")[0] for layer in stacks}
        if len(banks) != 1:
            raise RecipeError(
                f"Block {block} holds {len(banks)} sets of experts, and only one can be told from the "
                "others; use width or depth."
            )
        bank = banks.pop()
        parameters = {name: size for rows in layers.values() for name, size in rows.items()}
        watched = isinstance(modules[bank], SwitchGLU | SwitchMLP)
        yield Mixture(block, bank if watched else None, bank.rpartition(".")[0], stacks, count, parameters)


def _fewer_rows(before: tuple[int, ...], after: tuple[int, ...], removed: int) -> bool:
    return before[1:] == after[1:] and before[0] - after[0] == removed


def _counts(config: dict[str, Any]) -> list[tuple[dict[str, Any], str, int]]:
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    return [(p, key, p[key]) for p in parts for key in _COUNT_KEYS if isinstance(p.get(key), int)]


def _first(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    stated = (part.get(key) for part in parts for key in keys)
    return next((value for value in stated if isinstance(value, int) and value > 0), None)


def _something_else(name: str) -> str:
    return (
        f"A configuration with fewer experts would change {name} otherwise than by leaving some experts out, "
        "so this architecture cannot be cut that way; use depth, or prune weights."
    )
