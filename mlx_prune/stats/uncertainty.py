"""Do the answers change that the dense model was unsure of?

An item's uncertainty is the entropy of the dense model's probabilities of the three letters, at temperature
1 and scaled to sum to 1: ``H = -sum_l p_l log2 p_l`` bits, from 0 to log2(3). Items are ranked by it and cut
into ten parts of equal size (deciles; of equal entropies the first item comes first). An answer has changed
if it chooses another option than the dense model's under the same seed, both being understood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_prune.stats.clustered import cluster_sums, clustered_wilson
from mlx_prune.stats.outcomes import UNKNOWN, Outcomes
from mlx_prune.stats.transitions import require_dense

DECILES = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChangesByDecile:
    """Changed answers by uncertainty; arrays are (configurations, deciles) unless said.

    Attributes:
        entropy: Smallest and largest entropy of each decile's items, bits (2, deciles).
        items: Of which answers could be compared.
        answers: Pairs of answers.
        changed: Share of these that differ.
        low: Lower end of its 95 % interval over question templates.
        high: Upper end.
    """

    entropy: Floats
    items: NDArray[np.intp]
    answers: NDArray[np.intp]
    changed: Floats
    low: Floats
    high: Floats


def letter_entropy(probabilities: Floats) -> Floats:
    """Entropy in bits of probabilities that are scaled to sum to 1 first.

    Args:
        probabilities: (items, letters).

    Returns:
        (items,); NaN where one is not known, or all are zero.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = probabilities / probabilities.sum(axis=-1, keepdims=True)
        bits = -np.where(p > 0, p * np.log2(p), 0.0).sum(axis=-1)
    return np.where(np.isnan(p).any(axis=-1), np.nan, np.abs(bits))


def deciles(values: Floats) -> NDArray[np.intp]:
    """The tenth that each value belongs to, 0 for the smallest (items,); -1 where it is NaN.

    With fewer than ten values none belongs to any.
    """
    found = np.full(len(values), -1, np.intp)
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    if len(order) >= DECILES:
        for number, part in enumerate(np.array_split(order, DECILES)):
            found[part] = number
    return found


def changes_by_decile(outcomes: Outcomes, entropy: Floats) -> ChangesByDecile | None:
    """Share of answers that changed from dense, by decile of uncertainty; None with too few known items.

    Args:
        outcomes: One model's answers.
        entropy: Of the dense model's letter probabilities, bits, by item of ``outcomes`` (items,).

    Raises:
        RecordsError: If there is no dense configuration.
    """
    dense, group = outcomes.codes[require_dense(outcomes)], deciles(entropy)
    if group.max(initial=-1) < 0:
        return None
    pairs = (dense >= UNKNOWN) & (outcomes.codes >= UNKNOWN)
    changed = (pairs & (dense != outcomes.codes)).sum(axis=-1)
    compared = pairs.sum(axis=-1)
    templates, parts, ends = len(outcomes.template_category), [], []
    for number in range(DECILES):
        mine = group == number
        known = entropy[mine]
        ends.append((known.min(), known.max()))
        top, bottom = (
            cluster_sums(counts[:, mine], outcomes.template[mine], templates)
            for counts in (changed, compared)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            share = top.sum(axis=-1) / bottom.sum(axis=-1)
        parts.append(
            ((compared[:, mine] > 0).sum(axis=-1), bottom.sum(axis=-1), share, *clustered_wilson(top, bottom))
        )
    items, answers, share, low, high = (np.stack(column, axis=-1) for column in zip(*parts, strict=True))
    return ChangesByDecile(np.array(ends).T, items, answers.astype(np.intp), share, low, high)
