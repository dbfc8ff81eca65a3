"""The weight files of a model that was pruned by zeros: the source's own, written over, or new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import mlx.core as mx
import mlx.nn as nn

from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.layout import layout_of
from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.other_parts import refuse_loss
from mlx_prune.checkpoint.writer import plan


class PrunedFiles:
    """Reads the matrices of a source one by one, and writes them to where the copy holds them.

    Attributes:
        layout: See :mod:`.writer`: "source" or "mlx".
    """

    def __init__(
        self, source: Checkpoint, network: nn.Module, linears: list[PrunableLinear], folder: OutputFolder
    ) -> None:
        """Find every matrix; nothing is written.

        Args:
            source: The dense checkpoint.
            network: Its network; no weight of it is touched.
            linears: The prunable matrices.
            folder: Where the files go.

        Raises:
            CheckpointError: A matrix is not stored as floats, or parts beside the language model would be
                lost.
        """
        self._layout = layout_of(source.shards, linears, network)
        if self._layout.name == "mlx":
            refuse_loss(source.shards, network)
        self.layout = self._layout.name
        # Taken out as they are used up.
        self._stored = source.weights() if self.layout == "mlx" else {}
        self._folder = folder
        self._shards = source.shards
        self._writer = plan(folder.partial, self.layout, source.shards, self._stored)

    def create(self, pruned: Iterable[PrunableLinear]) -> None:
        """Write the files with all but some matrices, which are still to come.

        Raises:
            CheckpointError: The disk is too small.
        """
        self._folder.check_space(self._writer.nbytes)
        rewritten: Counter[str] = Counter()
        for linear in pruned:
            rewritten[self._layout.places[linear.name].tensor] += linear.size
        self._writer.create(rewritten, self._stored)

    def original(self, linear: PrunableLinear) -> mx.array:
        """A matrix in its stored type, from the source; in layout "mlx" each can be read once."""
        place = self._layout.places[linear.name]
        if self.layout == "source":
            info, shape = self._shards.tensors[place.tensor], (linear.out_features, linear.in_features)
            if info.shape == shape and linear.expert is None:
                # Without a copy; but it reads the file's whole header, too much for each of many experts.
                return self._shards.load([place.tensor])[place.tensor]
            return info.read(place.start, shape)
        if linear.expert is None:
            return self._stored.pop(place.tensor)
        stack = self._stored[place.tensor]
        mx.eval(stack)  # once for all its experts
        if linear.expert + 1 == stack.shape[0]:
            del self._stored[place.tensor]
        return stack[linear.expert]

    def write(self, linear: PrunableLinear, weight: mx.array) -> None:
        """Put a matrix in its place."""
        self._writer.write_part(self._layout.places[linear.name], weight)

    def written(self, linear: PrunableLinear) -> mx.array:
        """A matrix as it stands in the files."""
        shape = (linear.out_features, linear.in_features)
        return self._writer.read_part(self._layout.places[linear.name], shape)
