"""Structured pruning by the book: whole forwards of the whole model, float64, columns set to zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx_lm
import numpy as np
from mlx.utils import tree_unflatten

from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.checkpoint.open import LoadedModel, load

TOKENS = [[7, 91, 30, 8, 200, 13, 99, 55, 21]]
LONG = [[int(n) for n in np.random.default_rng(1).integers(5, 300, 24)]]


class Recorder(nn.Module):
    """Stands in for a linear layer and keeps its inputs."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.inputs: list[np.ndarray] = []

    def __call__(self, x: mx.array) -> mx.array:
        self.inputs.append(np.array(x.astype(mx.float32)).astype(np.float64).reshape(-1, x.shape[-1]))
        return self.linear(x)


def inputs_of(model: nn.Module, block: int, projection: str, tokens: np.ndarray) -> np.ndarray:
    """What a linear layer receives, [tokens, features] float64, in a plain forward of the whole model."""
    inner = blocks(model)[block]
    linear = dict(inner.named_modules())[projection]
    recorder = Recorder(linear)
    inner.update_modules(tree_unflatten([(projection, recorder)]))
    mx.eval(model(mx.array(tokens)))
    inner.update_modules(tree_unflatten([(projection, linear)]))
    return np.concatenate(recorder.inputs)


def narrowed(
    source: str,
    projection: str,
    calibration: Calibration,
    owners: np.ndarray,
    kept: int,
    *,
    statistics: str = "sequential",
    repaired: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> tuple[LoadedModel, list[np.ndarray]]:
    """The whole model with the columns of removed units set to zero, and the kept columns of each block.

    Args:
        source: Model folder.
        projection: The one that reads the units, "mlp.down_proj".
        calibration: The text.
        owners: Unit of each of its inputs.
        kept: How many units stay.
        statistics: "sequential" or "dense".
        repaired: Weights, inputs and kept columns to new weights of the kept columns.
    """
    model, dense = load(source), load(source)
    tokens = calibration_tokens(calibration, model.tokenizer, model.config, 0).tokens
    chosen = []
    for index, block in enumerate(blocks(model.model)):
        seen = model if statistics == "sequential" else dense
        x = inputs_of(seen.model, index, projection, tokens)
        layer = dict(block.named_modules())[projection]
        w = np.array(layer.weight).astype(np.float64)
        columns = np.abs(w).sum(axis=0) * np.sqrt(np.square(x).mean(axis=0))
        scores = np.array([columns[owners == unit].sum() for unit in range(owners.max() + 1)])
        units = sorted(np.argsort(-scores, kind="stable")[:kept].tolist())
        stay = np.flatnonzero(np.isin(owners, units))
        zeroed = np.zeros_like(w)
        zeroed[:, stay] = w[:, stay] if repaired is None else repaired(w, x, stay)
        layer.weight = mx.array(zeroed.astype(np.float32))
        chosen.append(stay)
    return model, chosen


def only_blocks(source: str, kept: Sequence[int]) -> LoadedModel:
    """The model with some of its blocks, the same objects."""
    model = load(source)
    inner = getattr(model.model, "model", model.model)
    inner.layers = [inner.layers[index] for index in kept]
    return model


def logits(folder: Path, tokens: Sequence[Sequence[int]] = TOKENS) -> np.ndarray:
    """[samples, length, vocabulary] of a folder as stock mlx-lm loads it, computed in float32."""
    model, _ = mlx_lm.load(str(folder))
    model.set_dtype(mx.float32)
    return np.array(model(mx.array(tokens)))
