"""Where the tensors of a checkpoint lie, and what they are called once blocks have gone.

Layout "source" keeps the source's own names, so that whatever loads the source loads the result; where
mlx-lm renames or reshapes what is cut, layout "mlx" uses mlx-lm's names and shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from mlx_prune.checkpoint.layout import layout_of
from mlx_prune.checkpoint.matrices import PrunableLinear, blocks, weights_of
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.other_parts import refuse_loss
from mlx_prune.checkpoint.shards import Shards
from mlx_prune.dtypes import FLOATS, NAMES, mlx_type
from mlx_prune.errors import CheckpointError


@dataclass(frozen=True)
class BlockNames:
    """What the names of all blocks begin with, up to their number.

    Attributes:
        own: In mlx-lm, "language_model.model.layers.".
        stored: In the files, "model.language_model.layers."; there may be none, then mlx-lm's layout is used.
    """

    own: str
    stored: str | None

    def in_files(self, name: str) -> str:
        """What the files call a parameter; the same outside the blocks."""
        inside = self.stored is not None and name.startswith(self.own)
        return f"{self.stored}{name.removeprefix(self.own)}" if inside else name


def block_names(shards: Shards, network: nn.Module, linears: Sequence[PrunableLinear]) -> BlockNames:
    """Find out how the files number the blocks, whatever mlx-lm renames them to.

    Args:
        shards: The weight files.
        network: The model, its weights lazy.
        linears: Its prunable linears.
    """
    own, count = block_prefix(network), len(blocks(network))

    def numbers_all(prefix: str) -> bool:
        return {_number(name, prefix) for name in shards.tensors} - {None} == set(range(count))

    if numbers_all(own):
        return BlockNames(own, own)
    layout = layout_of(shards, list(linears), network)
    if layout.name == "source":
        tensors = [(linear.block, layout.places[linear.name].tensor) for linear in linears]
        parts = tensors[0][1].split(".")
        for end in range(1, len(parts)):
            prefix = ".".join(parts[:end]) + "."
            inside = all(name.startswith(f"{prefix}{block}.") for block, name in tensors)
            if inside and numbers_all(prefix):
                return BlockNames(own, prefix)
    return BlockNames(own, None)


class SourceTensors:
    """The tensors of a checkpoint in their stored type, lazy."""

    def __init__(self, source: Checkpoint, layout: str, names: BlockNames) -> None:
        """Open them.

        Args:
            source: The checkpoint.
            layout: From :func:`layout_for_cuts`.
            names: From :func:`block_names`.

        Raises:
            CheckpointError: A tensor is of a type that cannot be written, or parts beside the language model
                would be lost.
        """
        self.layout = layout
        self._shards = source.shards
        self._block_names = names
        self._values: dict[str, mx.array] = {}
        if layout == "mlx":
            network = source.network()
            refuse_loss(source.shards, network)
            self._values = weights_of(network)
            return
        for info in source.shards.tensors.values():
            if info.dtype not in NAMES:
                raise CheckpointError(
                    f"{info.name} is stored as {info.dtype}, which is not copied; convert the checkpoint to "
                    "float32, bfloat16 or float16 first."
                )

    @property
    def names(self) -> list[str]:
        """The names of all that was not taken yet, in the order of the files."""
        return list(self._values if self.layout == "mlx" else self._shards.tensors)

    def stored(self, name: str) -> str:
        """What one of mlx-lm's parameters is called in this layout."""
        return name if self.layout == "mlx" else self._block_names.in_files(name)

    @property
    def prefix(self) -> str:
        """What the names of all blocks begin with in this layout."""
        return self.stored(self._block_names.own)

    def laid_out(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, mx.array]:
        """All tensors in the order of the files, lazy: zeros of new shapes for some, the others taken.

        Args:
            shapes: New shapes by mlx-lm's names.

        Returns:
            By the names of this layout.
        """
        shapes = {self.stored(name): shape for name, shape in shapes.items()}
        found = {name: mx.zeros(shape, dtype=self._type(name)) for name, shape in shapes.items()}
        names = self.names
        found |= self.take(name for name in names if name not in shapes)
        return {name: found[name] for name in names}

    def _type(self, name: str) -> mx.Dtype:
        if self.layout == "mlx":
            return self._values[name].dtype
        return mlx_type(self._shards.tensors[name].dtype)

    def take(self, names: Iterable[str]) -> dict[str, mx.array]:
        """Some tensors, lazy, in the order of the names; each can be taken once."""
        wanted = list(names)
        if self.layout == "mlx":
            return {name: self._values.pop(name) for name in wanted}
        found = self._shards.load(wanted)
        return {name: found[name] for name in wanted}


def layout_for_cuts(shards: Shards, shapes: dict[str, tuple[int, ...]], names: BlockNames) -> str:
    """Choose the layout for parameters that are cut: "source" if the files hold them all by name and shape.

    Args:
        shards: The weight files.
        shapes: By mlx-lm's names.
        names: From :func:`block_names`.

    Raises:
        CheckpointError: One is not stored as floats.
    """
    for name, shape in shapes.items():
        info = shards.tensors.get(names.in_files(name))
        if info is None or info.shape != shape:
            return "mlx"
        if info.dtype not in FLOATS:
            raise CheckpointError(
                f"{info.name} is stored as {info.dtype}, and only float32, bfloat16 and float16 weights can "
                "be pruned; convert the checkpoint first."
            )
    return "source"


def block_prefix(network: nn.Module) -> str:
    """What the names of all blocks begin with, "model.layers."."""
    first = blocks(network)[0]
    name: str = next(name for name, module in network.named_modules() if module is first)
    return name.removesuffix("0")


def renumbered(names: Sequence[str], prefix: str, kept: Sequence[int]) -> dict[str, str]:
    """New names by old ones, without those of blocks that go.

    Args:
        names: Tensor names.
        prefix: What those of all blocks begin with.
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
