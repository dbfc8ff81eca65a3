"""Check a checkpoint with fewer experts: what mlx-lm loads of it is the source's, bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlx.core as mx

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.dtypes import bits_of
from mlx_prune.errors import RecipeError
from mlx_prune.pruning.experts.mixtures import Indices, Mixture


def check_weights(
    source: Checkpoint, result: Checkpoint, mixtures: Sequence[Mixture], kept: Mapping[int, Indices]
) -> None:
    """Load both, and compare one parameter after the other.

    Args:
        source: The whole model.
        result: The smaller one.
        mixtures: Where the source's experts are.
        kept: By block, those that stayed.

    Raises:
        RecipeError: mlx-lm makes something else of the smaller model's files than the kept experts.
        CheckpointError: It cannot load them.
    """
    before, after = source.weights(), result.weights()
    owners = {name: mixture for mixture in mixtures for name in mixture.parameters}
    if before.keys() != after.keys():
        raise RecipeError(_other(next(iter(before.keys() ^ after.keys()))))
    for name in list(before):
        # Taken out: nothing holds on to them once they are compared.
        wanted, found = before.pop(name), after.pop(name)
        if name in owners:
            wanted = owners[name].take(name, wanted, kept[owners[name].block])
        if wanted.shape != found.shape or wanted.dtype != found.dtype or not _same_bits(wanted, found):
            raise RecipeError(_other(name))
        del wanted, found
        mx.clear_cache()


def _same_bits(one: mx.array, other: mx.array) -> bool:
    return bool(mx.array_equal(bits_of(one), bits_of(other)).item())


def _other(name: str) -> str:
    return (
        f"mlx-lm would make something else of {name} than the experts that were kept, so this model's files "
        "cannot be cut that way; convert the model with mlx_lm.convert first."
    )
