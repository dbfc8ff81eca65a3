"""The matrices of a network: which can be pruned, which are left alone, and how a block comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from mlx_prune.errors import CheckpointError

_ROUTER_NAMES = frozenset({"gate", "router", "shared_expert_gate"})


@dataclass(frozen=True)
class PrunableLinear:
    """A weight matrix inside a transformer block: a linear layer, or one expert of a stack of them.

    Attributes:
        name: Its path in the model, "model.layers.0.self_attn.q_proj"; an expert's ends in its index,
            "model.layers.0.mlp.switch_mlp.up_proj[3]".
        block: Index of its block.
        projection: The layer's path inside the block, "self_attn.q_proj"; experts share one.
        out_features: Rows of the weight.
        in_features: Columns of the weight, the inputs of one output.
        module: The layer.
        expert: Index in the layer's stack of [experts, out, in]; None for a layer with one matrix.
    """

    name: str
    block: int
    projection: str
    out_features: int
    in_features: int
    module: nn.Module
    expert: int | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.out_features * self.in_features

    @property
    def dtype(self) -> mx.Dtype:
        """Type of the weight in memory."""
        dtype: mx.Dtype = self.module.weight.dtype
        return dtype

    @property
    def layer(self) -> str:
        """The layer's path in the model, which experts share."""
        return self.name if self.expert is None else self.name.rpartition("[")[0]

    @property
    def weight(self) -> mx.array:
        """The matrix, [out, in], as it is in memory."""
        weight: mx.array = self.module.weight
        return weight if self.expert is None else weight[self.expert]

    def set_weight(self, weight: mx.array) -> None:
        """Let the model run with another matrix, [out, in]; it is converted to the type in memory."""
        weight = weight.astype(self.dtype)
        if self.expert is None:
            self.module.weight = weight
        else:
            # The new stack takes over the old one's memory, unless somebody still holds that, as a matrix
            # does which is yet to be computed from it.
            mx.eval(weight)
            self.module.weight = mx.slice_update(
                self.module.weight, weight[None], mx.array([self.expert]), axes=(0,)
            )
        mx.eval(self.module.weight)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks of an mlx-lm model, in order.

    Raises:
        CheckpointError: The architecture shows no list of layers.
    """
    layers = getattr(model, "layers", None)
    if layers is None:
        layers = getattr(getattr(model, "model", None), "layers", None)
    found = [layer for layer in layers or [] if isinstance(layer, nn.Module)]
    if not found:
        raise CheckpointError(
            f"{type(model).__module__} has no list of layers, so there is nothing to prune."
        )
    return found


def block_modules(model: nn.Module) -> Iterator[tuple[int, str, str, nn.Module]]:
    """Every module inside the blocks: block index, path in the model, path in the block, module."""
    paths = {id(module): name for name, module in model.named_modules()}
    for index, block in enumerate(blocks(model)):
        prefix = paths[id(block)]
        # named_modules walks from the last to the first.
        for inner, module in reversed(block.named_modules()):
            if inner:
                yield index, f"{prefix}.{inner}", inner, module


def prunable_linears(model: nn.Module, *, quantized: bool = False) -> list[PrunableLinear]:
    """All linear layers inside the blocks, and every expert of their stacks.

    Embeddings, head and norms are never among them, nor the routers of a mixture of experts: they are small,
    they choose what all other weights do, and the field leaves them dense.

    Args:
        model: An mlx-lm model. Its weights are not evaluated.
        quantized: Also those that are, to be counted and run: their weights are packed.

    Returns:
        The layers, block by block; the experts of a stack follow one another.

    Raises:
        CheckpointError: The weights are quantized, or the blocks hold no linear layer.
    """
    found: list[PrunableLinear] = []
    routers = _routers(model)
    for index, name, projection, module in block_modules(model):
        if not quantized and isinstance(module, nn.QuantizedLinear | QuantizedSwitchLinear):
            raise CheckpointError(
                f"{name} is quantized; prune the dense checkpoint first and quantize it afterwards."
            )
        if name not in routers:
            found += matrices_of(index, name, projection, module)
    if not found:
        raise CheckpointError(f"The blocks of {type(model).__module__} hold no linear layer to prune.")
    return found


def matrices_of(block: int, name: str, projection: str, module: nn.Module) -> list[PrunableLinear]:
    """The prunable matrices of one layer: one, one for each expert of a stack, or none."""
    if isinstance(module, nn.Linear | nn.QuantizedLinear):
        rows, columns = unpacked_shape(module)
        return [PrunableLinear(name, block, projection, rows, columns, module)]
    if is_stack(module):
        experts, rows, columns = unpacked_shape(module)
        return [
            PrunableLinear(f"{name}[{expert}]", block, projection, rows, columns, module, expert)
            for expert in range(experts)
        ]
    return []


def unpacked_shape(module: nn.Module) -> tuple[int, ...]:
    """The shape of a layer's weight; of a quantized one, as it dequantizes."""
    *shape, columns = module.weight.shape
    return (*shape, columns * 32 // module.bits if "scales" in module else columns)


def weight_matrix(module: nn.Module) -> mx.array | None:
    """The weight of a layer that multiplies activations by a matrix, or by a stack of them; else None."""
    weight = module.get("weight")
    if not isinstance(weight, mx.array) or weight.ndim < 2:
        return None
    return None if isinstance(module, nn.Embedding | nn.QuantizedEmbedding | nn.Conv1d) else weight


def dense_matrix(module: nn.Module) -> mx.array | None:
    """The weight of a layer as it multiplies activations, dequantized if need be; None if it has none."""
    weight = weight_matrix(module)
    if weight is None or "scales" not in module:
        return weight
    matrix: mx.array = mx.dequantize(
        weight,
        module.scales,
        module.get("biases"),
        group_size=module.group_size,
        bits=module.bits,
        mode=getattr(module, "mode", "affine"),
    )
    return matrix


def other_projections(model: nn.Module) -> tuple[str, ...]:
    """Projections of the blocks that are never pruned: routers, and matrices that are no linear layers."""
    routers = _routers(model)
    prunable = nn.Linear | nn.QuantizedLinear | SwitchLinear | QuantizedSwitchLinear
    names = (
        projection
        for _, name, projection, module in block_modules(model)
        if weight_matrix(module) is not None and (name in routers or not isinstance(module, prunable))
    )
    return tuple(dict.fromkeys(names))


def _routers(model: nn.Module) -> set[str]:
    """Paths of the linear layers that choose or weigh the experts of their block.

    No attribute marks them. In every architecture of mlx-lm they are called gate or router, stand in a block
    with a stack of experts, and have about as many outputs as the stack has experts (some more where there
    are experts that compute nothing; one where a shared expert is weighed).
    """
    experts: dict[int, int] = {}
    for block, _, _, module in block_modules(model):
        if is_stack(module):
            experts[block] = max(experts.get(block, 0), module.num_experts)
    return {
        name
        for block, name, projection, module in block_modules(model)
        if isinstance(module, nn.Linear | nn.QuantizedLinear)
        and module.weight.shape[0] <= 2 * experts.get(block, 0)
        and not _ROUTER_NAMES.isdisjoint(projection.split("."))
    }


def is_stack(module: nn.Module) -> bool:
    """Whether a layer holds a matrix of every expert."""
    return isinstance(module, SwitchLinear | QuantizedSwitchLinear)


def weights_of(network: nn.Module) -> dict[str, mx.array]:
    """The weights of a network by their names in mlx-lm, as lazy as they are in it."""
    return dict(tree_flatten(network.parameters()))


@contextmanager
def in_memory(block: nn.Module) -> Iterator[None]:
    """While open, the weights of a block are in memory; afterwards they are gone from the network."""
    bring_in(block)
    yield
    let_go(block)


def bring_in(block: nn.Module) -> None:
    """Read the weights of a block, one after the other: what they are made from is not held all at once."""
    for _, values in tree_flatten(block.parameters()):
        mx.eval(values)


def let_go(*modules: nn.Module) -> None:
    """Free the memory of modules that are not needed any more; their weights are empty afterwards."""
    for module in modules:
        names = [name for name, _ in tree_flatten(module.parameters())]
        module.update(tree_unflatten([(name, mx.zeros((0,))) for name in names]))
    mx.clear_cache()


def not_finite(name: str) -> CheckpointError:
    """What to raise where a matrix holds NaN or infinity."""
    return CheckpointError(
        f"{name} holds NaN or infinite weights; the checkpoint is damaged, download or convert it again."
    )
