"""Small pruned models and short recoveries of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.pruning.job import write_pruned
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.recovery.job import recover
from mlx_prune.recovery.settings import Recovery

Floats = NDArray[np.float64]

SHORT: dict[str, Any] = {
    "steps": 8,
    "rank": 2,
    "batch_size": 2,
    "sequence_length": 16,
    "learning_rate": 0.002,
    "first_step": "none",
}


def short(**changed: Any) -> Recovery:
    """Settings that take a moment; keyword arguments replace some."""
    return Recovery(**SHORT | changed)


def write_text(file: Path, words: int = 900, seed: int = 0) -> Path:
    """A text of random sentences."""
    rng = random.Random(seed)
    people = ["teacher", "student", "old", "young", "woman", "man", "doctor", "nurse"]
    known = [*people, "the", "was", "late", "who", "answer", "question"]
    file.write_text(" ".join(rng.choice(known) for _ in range(words)))
    return file


def pruned_copy(source: Path, out: Path, method: str = "magnitude", **recipe: Any) -> Path:
    """A pruned copy of a model; half of the weights, or a pattern."""
    if "pattern" not in recipe:
        recipe = {"sparsity": 0.5, **recipe}
    write_pruned(source, out, Recipe(method, **recipe))
    return out


def recovered_copy(pruned: Path, out: Path, text: Path, **settings: Any) -> PruningRecord:
    """Recover for a few steps."""
    return recover(pruned, out, data=text, settings=short(**settings))


def stored(folder: Path) -> dict[str, np.ndarray]:
    """The bits of every weight, by mlx-lm's names."""
    from mlx_prune.dtypes import bits_of

    return {name: np.array(bits_of(values)) for name, values in Checkpoint(folder).weights().items()}


def values(folder: Path) -> dict[str, np.ndarray]:
    """Every weight in float32, by mlx-lm's names."""
    return {name: np.array(array.astype(mx.float32)) for name, array in Checkpoint(folder).weights().items()}


def dense_and_pruned(folder: Path, architecture: str = "llama") -> tuple[Path, Path]:
    """A tiny model in a folder, and a pruned copy of it."""
    dense = save_tiny_model(folder / "dense", architecture, seed=5)
    return dense, pruned_copy(dense, folder / "pruned")


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities over the last axis, by NumPy."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
