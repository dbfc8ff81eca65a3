"""Entropy of the answers A, B and C: a model that always says the same letter has none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special


def answer_entropy(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Entropy of the empirical distribution over the last axis, in bits; at most log2(3) for three letters.

    Args:
        counts: How often each letter was answered (..., letters).

    Returns:
        Shape (...), NaN where nothing was answered.
    """
    total = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares = counts / total
    return np.asarray(special.entr(shares).sum(axis=-1) / np.log(2.0))
