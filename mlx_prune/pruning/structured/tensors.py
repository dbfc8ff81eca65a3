"""Where the tensors of a checkpoint lie, and what they are called once blocks have gone.

Layout "source" keeps the source's own names, so that whatever loads the source loads the result; where
mlx-lm renames or reshapes what is cut, layout "mlx" uses mlx-lm's names and shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_prune.checkpoints import blocks, load_network
from mlx_prune.errors import CheckpointError
from mlx_prune.shards import FLOAT_TYPES, Shards

_WRITABLE = {*FLOAT_TYPES, "U32", "I32", "U8", "I8", "I64", "BOOL"}


class SourceTensors:
    """The tensors of a checkpoint in their stored type, lazy."""

    def __init__(self, path: Path, shards: Shards, layout: str, *, trust_remote_code: bool = False) -> None:
        """Open them.

        Args:
            path: The checkpoint folder.
            shards: Its weight files.
            layout: From :func:`layout_for_cuts` or :func:`layout_for_blocks`.
            trust_remote_code: Run Python files of the checkpoint.

        Raises:
            CheckpointError: A tensor is of a type that cannot be written.
        """
        self.layout = layout
        self._shards = shards
        self._values: dict[str, mx.array] = {}
        if layout == "mlx":
            network, _, _ = load_network(
                path, dtype="stored", lazy=True, shards=shards, trust_remote_code=trust_remote_code
            )
            self._values = dict(tree_flatten(network.parameters()))
            return
        for info in shards.tensors.values():
            if info.dtype not in _WRITABLE:
                raise CheckpointError(
                    f"{info.name} is stored as {info.dtype}, which is not copied; convert the checkpoint to "
                    "float32, bfloat16 or float16 first."
                )

    @property
    def names(self) -> list[str]:
        """The names of all that was not taken yet, in the order of the files."""
        return list(self._values if self.layout == "mlx" else self._shards.tensors)

    def laid_out(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, mx.array]:
        """All tensors in the order of the files, lazy: zeros of new shapes for some, the others taken.

        Args:
            shapes: New shapes by name.
        """
        found = {name: mx.zeros(shape, dtype=self._type(name)) for name, shape in shapes.items()}
        names = self.names
        found |= self.take(name for name in names if name not in shapes)
        return {name: found[name] for name in names}

    def _type(self, name: str) -> mx.Dtype:
        if self.layout == "mlx":
            return self._values[name].dtype
        stored: mx.Dtype = getattr(mx, FLOAT_TYPES[self._shards.tensors[name].dtype])
        return stored

    def take(self, names: Iterable[str]) -> dict[str, mx.array]:
        """Some tensors, lazy, in the order of the names; each can be taken once."""
        wanted = list(names)
        if self.layout == "mlx":
            return {name: self._values.pop(name) for name in wanted}
        found = self._shards.load(wanted)
        return {name: found[name] for name in wanted}


def layout_for_cuts(shards: Shards, shapes: dict[str, tuple[int, ...]]) -> str:
    """Choose the layout for parameters that are cut: "source" if the files hold them all by name and shape.

    Raises:
        CheckpointError: One is not stored as floats.
    """
    for name, shape in shapes.items():
        info = shards.tensors.get(name)
        if info is None or info.shape != shape:
            return "mlx"
        if info.dtype not in FLOAT_TYPES:
            raise CheckpointError(
                f"{name} is stored as {info.dtype}, and only float32, bfloat16 and float16 weights can be "
                "pruned; convert the checkpoint first."
            )
    return "source"


def layout_for_blocks(shards: Shards, network: nn.Module) -> str:
    """Choose the layout for blocks that go: "source" if the files number them as mlx-lm does."""
    count = len(blocks(network))
    prefix = block_prefix(network)
    numbers = {_number(name, prefix) for name in shards.tensors} - {None}
    return "source" if numbers == set(range(count)) else "mlx"


def block_prefix(network: nn.Module) -> str:
    """What the names of all blocks begin with, "model.layers."."""
    first = blocks(network)[0]
    name: str = next(name for name, module in network.named_modules() if module is first)
    return name.removesuffix("0")


def renumbered(names: Sequence[str], prefix: str, kept: Sequence[int]) -> dict[str, str]:
    """New names by old ones, without those of blocks that go.

    Args:
        names: Tensor names.
        prefix: From :func:`block_prefix`.
        kept: Indices of the blocks that stay, ascending.
    """
    place = {old: new for new, old in enumerate(kept)}
    found: dict[str, str] = {}
    for name in names:
        number = _number(name, prefix)
        if number is None:
            found[name] = name
        elif number in place:
            rest = name.removeprefix(prefix).partition(".")[2]
            found[name] = f"{prefix}{place[number]}.{rest}"
    return found


def _number(name: str, prefix: str) -> int | None:
    if not name.startswith(prefix):
        return None
    number = name.removeprefix(prefix).partition(".")[0]
    return int(number) if number.isdigit() else None
