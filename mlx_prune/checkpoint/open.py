"""Open a model from a folder or the Hub, and list what in it can be pruned."""

from __future__ import annotations

import contextlib
import glob
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.utils import _decode_tagged_floats
from mlx_lm.utils import load_model as _mlx_lm_load_model

from mlx_prune.chat.tokenizer import open_tokenizer
from mlx_prune.checkpoint.config import check_plausible, entries_changed, read_config
from mlx_prune.checkpoint.downloads import download
from mlx_prune.checkpoint.rope import check_rope
from mlx_prune.checkpoint.shards import FLOAT_TYPES, Shards, open_shards
from mlx_prune.environment import backend
from mlx_prune.errors import CheckpointError, one_line
from mlx_prune.paths import expanded

DTYPES = ("auto", "float32", "bfloat16", "float16")

_ROUTER_NAMES = frozenset({"gate", "router", "shared_expert_gate"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run.

    Attributes:
        name: What the user called it: "demo", a Hub id or a folder.
        path: Its local folder.
        model: The mlx-lm model, in evaluation mode.
        tokenizer: mlx-lm's ``TokenizerWrapper``.
        config: The checkpoint's config.json.
        dtype: The compute type: "float32", "bfloat16" or "float16".
        notes: What was put right in loading, as sentences for people.
    """

    name: str
    path: Path
    model: nn.Module
    tokenizer: Any
    config: dict[str, Any]
    dtype: str
    notes: tuple[str, ...] = ()


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


def resolve(model: str | Path, *, trust_remote_code: bool = False) -> Path:
    """Find the local folder of a model, downloading it from the Hub if need be.

    Args:
        model: A folder, a Hub id ("org/name"), or "demo" for the embedded model.
        trust_remote_code: Also fetch the repository's Python files.

    Returns:
        A folder that holds a config.json.

    Raises:
        CheckpointError: There is no such folder or model, or it cannot be reached.
    """
    if model == "demo":
        from mlx_prune import demo

        return Path(demo.model_path())
    path = expanded(model)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path} holds no config.json, so it is not a model folder.")
        for entry in path.iterdir():
            # Whoever opens a FIFO waits for its writer, which no library below us thinks of.
            if entry.exists() and not entry.is_file() and not entry.is_dir():
                raise CheckpointError(f"{entry} is neither a file nor a folder; remove it.")
        return path
    if path.is_file():
        raise CheckpointError(f"{path} is a file; give the folder that holds config.json and the weights.")
    if isinstance(model, Path) or not _HUB_ID.fullmatch(model):
        raise CheckpointError(
            f"There is no model folder {model}; give a folder, a Hub id (org/name) or demo."
        )
    return download(model, trust_remote_code=trust_remote_code)


def recorded_name(model: str | Path) -> str:
    """What a model is called in a record, so that a folder is not taken for a Hub id where it is absent."""
    name = str(model)
    return f"./{name}" if _HUB_ID.fullmatch(name) and expanded(name).is_dir() else name


def load(
    model: str | Path, *, dtype: str = "auto", lazy: bool = False, trust_remote_code: bool = False
) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        model: A folder, a Hub id ("org/name"), or "demo".
        dtype: Compute type. "auto" keeps the checkpoint's on a GPU and takes float32 on a CPU, where half
            precision products are some fifty times slower. Widening is exact.
        lazy: Leave each weight on disk until it is used.
        trust_remote_code: Run the Python files that the checkpoint brings along.

    Returns:
        The model, in evaluation mode, with its tokenizer and config.

    Raises:
        CheckpointError: The folder is missing, incomplete or damaged, or mlx-lm does not know the
            architecture.
    """
    path = resolve(model, trust_remote_code=trust_remote_code)
    network, config, compute = load_network(
        path, dtype=dtype, lazy=lazy, trust_remote_code=trust_remote_code, shards=open_shards(path)
    )
    opened = open_tokenizer(path, trust_remote_code=trust_remote_code)
    return LoadedModel(recorded_name(model), path, network, opened.tokenizer, config, compute, opened.notes)


def load_network(
    path: Path, *, dtype: str, lazy: bool, shards: Shards, trust_remote_code: bool = False
) -> tuple[nn.Module, dict[str, Any], str]:
    """Load the network alone.

    Args:
        path: A model folder.
        dtype: As in :func:`load`; or "stored", each weight in the type the checkpoint holds it in.
        lazy: As in :func:`load`.
        shards: The folder's weight files, already checked.
        trust_remote_code: As in :func:`load`.

    Returns:
        The model, its config, and the compute type.

    Raises:
        CheckpointError: As in :func:`load`.
    """
    if dtype not in (*DTYPES, "stored"):
        raise CheckpointError(f"Unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}.")
    if glob.has_magic(str(path)):
        raise CheckpointError(f"mlx-lm takes the *, ? or [ in {path} for a pattern; rename the folder.")
    config = read_config(path)
    check_plausible(path, config, len(shards.tensors))
    if config.get("model_file") is not None and not trust_remote_code:
        raise CheckpointError(
            f"{path} brings its own Python code ({config['model_file']}); "
            "it runs only if you trust it explicitly."
        )
    trust = {"trust_remote_code": True} if trust_remote_code else {}
    changed = _decode_tagged_floats(entries_changed(path, config))
    said = io.StringIO()
    try:
        # Some architectures print, and stdout is the caller's; one leaves the process.
        with contextlib.redirect_stdout(said):
            network, config = _mlx_lm_load_model(path, lazy=True, model_config=changed, **trust)
    except (Exception, SystemExit) as error:  # whatever an architecture's constructor or loader raises
        reason = said.getvalue().strip(" .\n") if isinstance(error, SystemExit) else one_line(error)
        raise CheckpointError(f"mlx-lm cannot load {path}: {reason}.") from error
    check_rope(network, config, str(path / "config.json"))
    compute = _compute_dtype(dtype, shards)
    if dtype != "stored":
        network.set_dtype(getattr(mx, compute))
    if not lazy:
        mx.eval(network.parameters())
    return network, config, compute


def checkpoint_dtype(shards: Shards) -> str:
    """The float type that most of a checkpoint's weights are stored in ("float32", "bfloat16", "float16")."""
    sizes: dict[str, int] = {}
    for info in shards.tensors.values():
        if info.dtype in FLOAT_TYPES:
            sizes[info.dtype] = sizes.get(info.dtype, 0) + info.nbytes
    return FLOAT_TYPES[max(sizes, key=lambda key: sizes[key])] if sizes else "float32"


def _compute_dtype(dtype: str, shards: Shards) -> str:
    if dtype == "auto" and backend() == "cpu":
        return "float32"
    return checkpoint_dtype(shards) if dtype in ("auto", "stored") else dtype


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


def prunable_linears(model: nn.Module) -> list[PrunableLinear]:
    """All linear layers inside the blocks, and every expert of their stacks.

    Embeddings, head and norms are never among them, nor the routers of a mixture of experts: they are small,
    they choose what all other weights do, and the field leaves them dense.

    Args:
        model: An mlx-lm model. Its weights are not evaluated.

    Returns:
        The layers, block by block; the experts of a stack follow one another.

    Raises:
        CheckpointError: The weights are quantized, or the blocks hold no linear layer.
    """
    found: list[PrunableLinear] = []
    routers = _routers(model)
    for index, name, projection, module in block_modules(model):
        if isinstance(module, nn.QuantizedLinear | QuantizedSwitchLinear):
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
    if isinstance(module, nn.Linear):
        rows, columns = module.weight.shape
        return [PrunableLinear(name, block, projection, rows, columns, module)]
    if isinstance(module, SwitchLinear):
        experts, rows, columns = module.weight.shape
        return [
            PrunableLinear(f"{name}[{expert}]", block, projection, rows, columns, module, expert)
            for expert in range(experts)
        ]
    return []


def weight_matrix(module: nn.Module) -> mx.array | None:
    """The weight of a layer that multiplies activations by a matrix, or by a stack of them; else None."""
    weight = module.get("weight")
    if not isinstance(weight, mx.array) or weight.ndim < 2:
        return None
    return None if isinstance(module, nn.Embedding | nn.QuantizedEmbedding | nn.Conv1d) else weight


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
        if isinstance(module, SwitchLinear | QuantizedSwitchLinear):
            experts[block] = max(experts.get(block, 0), module.num_experts)
    return {
        name
        for block, name, projection, module in block_modules(model)
        if isinstance(module, nn.Linear | nn.QuantizedLinear)
        and module.weight.shape[0] <= 2 * experts.get(block, 0)
        and not _ROUTER_NAMES.isdisjoint(projection.split("."))
    }
