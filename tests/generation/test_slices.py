"""Logits by slices are those of the whole forward, and no more of them are made at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.generation import slices
from mlx_prune.generation.slices import SlicedLogits


def gathered(logits_of: SlicedLogits, tokens: np.ndarray, most: int) -> np.ndarray:
    found = np.full((tokens.size, logits_of.vocabulary), np.nan, np.float32)
    for place, logits in logits_of(tokens):
        assert 1 <= logits.shape[0] <= most
        assert logits.dtype == mx.float32
        assert np.isnan(found[place]).all()
        found[place] = np.array(logits)
    return found.reshape(*tokens.shape, -1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("by_head", [True, False])
def test_slices_are_the_whole_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, by_head: bool
) -> None:
    model = checkpoints.load(save_tiny_model(tmp_path, architecture)).model
    kind = type(model.model)
    if not by_head:
        monkeypatch.setattr(slices, "find_backbone", lambda _: None)
    logits_of = SlicedLogits(model)
    monkeypatch.setattr(slices, "_SLICE", 5 * logits_of.vocabulary + 1)
    tokens = np.random.default_rng(0).integers(0, 300, (3, 7), dtype=np.int32)
    expected = np.array(model(mx.array(tokens)).astype(mx.float32))
    np.testing.assert_allclose(gathered(logits_of, tokens, 5), expected, atol=1e-4)
    assert type(model.model) is kind


def test_the_head_alone_never_makes_more_than_a_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoints.load(save_tiny_model(tmp_path, "llama")).model
    logits_of = SlicedLogits(model)
    monkeypatch.setattr(slices, "_SLICE", 4 * logits_of.vocabulary)
    rows: list[int] = []
    head, own = type(model.lm_head), model.lm_head.__call__

    class Watched(head):  # type: ignore[misc, valid-type]
        def __call__(self, hidden: mx.array) -> Any:
            rows.append(hidden.shape[0] * hidden.shape[1])
            return own(hidden)

    model.lm_head.__class__ = Watched
    assert sum(logits.shape[0] for _, logits in logits_of(np.ones((2, 9), np.int32))) == 18
    # First of all one position of each row, which nobody evaluates.
    assert rows == [2, 4, 4, 4, 4, 2]


def test_a_model_whose_head_does_not_run_alone_is_asked_for_whole_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoints.load(save_tiny_model(tmp_path, "llama")).model
    original = type(model)

    class Centered(original):  # type: ignore[misc, valid-type]
        """Its head looks at all positions of a call."""

        def __call__(self, tokens: mx.array, cache: Any = None) -> mx.array:
            logits = super().__call__(tokens, cache=cache)
            return logits - logits.mean(axis=1, keepdims=True)

    model.__class__ = Centered
    logits_of = SlicedLogits(model)
    monkeypatch.setattr(slices, "_SLICE", 5 * logits_of.vocabulary)
    tokens = np.random.default_rng(0).integers(0, 300, (2, 11), dtype=np.int32)
    expected = np.array(model(mx.array(tokens)))
    np.testing.assert_allclose(gathered(logits_of, tokens, 5), expected, atol=1e-4)
