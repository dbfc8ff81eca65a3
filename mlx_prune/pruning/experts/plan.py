"""What is cut from a model, before it is known which experts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlx_prune.checkpoint.matrices import blocks, prunable_linears, weights_of
from mlx_prune.checkpoint.open import Checkpoint, OnDisk
from mlx_prune.pruning.experts.files import ExpertFiles
from mlx_prune.pruning.experts.mixtures import Mixture, Routing, mixtures_of, routing_of, with_experts
from mlx_prune.pruning.experts.recipe import ExpertsRecipe
from mlx_prune.pruning.structure.transformers_config import check_readable


@dataclass(frozen=True)
class Plan:
    """What is cut, before it is known which experts.

    Attributes:
        source: The model.
        routing: Of its configuration.
        removed: Experts that leave each mixture.
        mixtures: Where its experts are.
        config: Of the smaller model.
    """

    source: OnDisk
    routing: Routing
    removed: int
    mixtures: tuple[Mixture, ...]
    config: dict[str, Any]

    @classmethod
    def of(cls, source: OnDisk, recipe: ExpertsRecipe) -> Plan:
        """Find the experts, and refuse what the configuration cannot say."""
        checkpoint, network = source.checkpoint, source.network
        routing = routing_of(checkpoint, network)
        removed = routing.removed(recipe.sparsity)
        kept = routing.experts - removed
        config = with_experts(checkpoint.config, routing.experts, kept)
        mixtures = mixtures_of(network, checkpoint.config, routing.experts, kept)
        check_readable(checkpoint.config, config)
        return cls(source, routing, removed, tuple(mixtures), config)

    @cached_property
    def files(self) -> ExpertFiles:
        """The source's weight files."""
        cut = {name for mixture in self.mixtures for name in mixture.parameters}
        network = self.source.network
        unchanged = {n: tuple(v.shape) for n, v in weights_of(network).items() if n not in cut}
        return ExpertFiles(self.source.checkpoint.shards, self.mixtures, unchanged, len(blocks(network)))

    def bytes_after(self) -> int:
        """Of the weight files, whichever experts stay; numbers of other lengths in names shift some bytes."""
        stay = np.arange(self.removed, self.routing.experts)
        return sum(file.nbytes for file in self.files.cut({mixture.block: stay for mixture in self.mixtures}))


def sizes(checkpoint: Checkpoint) -> dict[str, int]:
    """What the record says of a model before and after."""
    network = checkpoint.network()
    linears = prunable_linears(network, quantized=True)
    return {"prunable": sum(linear.size for linear in linears), **asdict(checkpoint.costs(network))}
