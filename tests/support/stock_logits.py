"""What stock mlx-lm computes with a folder, against what the model in memory computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np

from mlx_prune.checkpoint.open import LoadedModel

TOKENS = [[7, 91, 30, 8, 200, 13, 99, 55, 21]]

# Two orders of the same float32 sums differ by some units in the last place of the largest terms; a weight
# that is not the same shows at thousands of them.
_ROUNDINGS = 100


def assert_close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Two float32 results of the same formula, whose layouts, threads, libraries or devices may differ."""
    assert found.dtype == expected.dtype == np.float32
    limit = _ROUNDINGS * float(np.finfo(np.float32).eps) * float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def assert_stock_mlx_lm_agrees(folder: Path, model: LoadedModel) -> Any:
    """Both networks compute the same logits in float32, to which the stored types are widened exactly.

    Args:
        folder: What was saved.
        model: What was saved from; its network is widened, too.

    Returns:
        The tokenizer that mlx-lm loads from the folder.
    """
    stock, tokenizer = mlx_lm.load(str(folder))
    for network in (stock, model.model):
        network.set_dtype(mx.float32)
    tokens = mx.array(TOKENS)
    assert_close(np.array(stock(tokens)), np.array(model.model(tokens)))
    return tokenizer
