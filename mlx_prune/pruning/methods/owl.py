"""OWL: blocks with many outlying weights keep more of them, the model as a whole as many as asked for.

Yin et al. 2024 (arXiv 2310.05175): a block's outlier ratio is the share of its Wanda scores above M times
their mean, measured on the dense network. The shares of weights kept are these ratios brought to a range of
twice lambda around the target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune.pruning.allocation import Allocation, AllocationRule
from mlx_prune.pruning.fields import ROW

if TYPE_CHECKING:
    import mlx.core as mx

    from mlx_prune.activations.statistics import SquareSums
    from mlx_prune.checkpoint.matrices import PrunableLinear
    from mlx_prune.pruning.recipe import Recipe

OUTLIER_THRESHOLD = 5.0  # M
SPREAD = 0.08  # lambda

_LARGEST = 0.99
_BISECTIONS = 100


@dataclass(frozen=True)
class Owl(AllocationRule):
    """Sparsities by the outliers of the dense network."""

    def of_block(
        self, recipe: Recipe, linears: Sequence[PrunableLinear], sums: Mapping[str, SquareSums]
    ) -> float:
        """The share of Wanda scores of the block above :data:`OUTLIER_THRESHOLD` times their mean.

        A fraction; 0 where nothing is to be pruned.
        """
        import mlx.core as mx
        import numpy as np

        # Experts that no token reached have no scores to compare.
        pruned = [
            linear for linear in linears if recipe.prunes(linear.projection) and sums[linear.name].count
        ]
        if not pruned:
            return 0.0
        total = sum(linear.size for linear in pruned)
        # Rows in float32, their sums in float64.
        sizes = [np.array(_scores(linear, sums).sum(axis=1)).sum(dtype=np.float64) for linear in pruned]
        limit = OUTLIER_THRESHOLD * float(sum(sizes)) / total
        above = [int(mx.sum(_scores(linear, sums) > limit).item()) for linear in pruned]  # type: ignore[arg-type]
        return sum(above) / total

    def allocate(
        self, recipe: Recipe, linears: Sequence[PrunableLinear], measured: Sequence[float]
    ) -> Allocation:
        """The fewer outliers, the sparser (:func:`spread_out`)."""
        pruned = [linear for linear in linears if recipe.prunes(linear.projection)]
        params = [0] * len(measured)
        for linear in pruned:
            params[linear.block] += linear.size
        sparsities = spread_out(measured, params, recipe.target_sparsity)
        # Some methods take the same number from each row.
        unit = [linear.out_features if recipe.mask.per == ROW else 1 for linear in pruned]
        units = [linear.size // one for linear, one in zip(pruned, unit, strict=True)]
        wanted = [count * sparsities[linear.block] for linear, count in zip(pruned, units, strict=True)]
        counts = whole_counts(wanted, units, unit)
        matrices = {
            linear.name: count / most for linear, count, most in zip(pruned, counts, units, strict=True)
        }
        # In percent, and percentage points for the spread.
        record = {
            "name": self.name,
            "outlier_threshold": OUTLIER_THRESHOLD,
            "spread": 100 * SPREAD,
            "blocks": [
                {"outliers": round(100 * outliers, 6), "sparsity": round(100 * sparsity, 6)}
                for outliers, sparsity in zip(measured, sparsities, strict=True)
            ],
        }
        return Allocation(tuple(measured), tuple(sparsities), matrices, record)


def whole_counts(wanted: Sequence[float], units: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Round what matrices should lose to whole units, so that the sum stays.

    Args:
        wanted: Units to take from each matrix.
        units: Units of each matrix; one at least stays.
        sizes: Weights of one unit of each matrix.

    Returns:
        Units to take from each. Rounding errors are carried from matrix to matrix; where a matrix has no more
        to give, the others give more.
    """
    counts: list[int] = []
    carried = 0.0
    for exact, most, size in zip(wanted, units, sizes, strict=True):
        count = min(max(round(exact + carried / size), math.floor(exact)), math.ceil(exact), most - 1)
        carried += (exact - count) * size
        counts.append(count)
    # Half a unit is what rounding leaves; more is what no matrix beside it could give.
    for index in sorted(range(len(counts)), key=lambda i: counts[i] / units[i]):
        more = min(max(round(carried / sizes[index]), 0), units[index] - 1 - counts[index])
        counts[index] += more
        carried -= more * sizes[index]
    return counts


def spread_out(outliers: Sequence[float], params: Sequence[int], target: float) -> list[float]:
    """Turn outlier ratios into sparsities that average to a target.

    Args:
        outliers: Outlier ratio of each block.
        params: Weights of each block.
        target: Mean sparsity, weighted by ``params``, in [0, 1).

    Returns:
        Sparsity of each block: the fewer outliers, the higher, over a range of twice :data:`SPREAD`. None is
        below 0 or above 0.99 (or halfway from the target to 1, if that is more); where that cuts some short,
        the others are shifted together to keep the mean.
    """
    import numpy as np

    ratios, weights = np.array(outliers, dtype=np.float64), np.array(params, dtype=np.float64)
    span = ratios.max() - ratios.min()
    kept = (ratios - ratios.min()) / span * 2 * SPREAD if span > 0 else np.zeros_like(ratios)
    free = target + np.average(kept, weights=weights) - kept
    top = max(_LARGEST, (1 + target) / 2)
    low, high = -1.0, 1.0
    shift = 0.0
    if free.min() < 0 or free.max() > top:
        for _ in range(_BISECTIONS):
            shift = (low + high) / 2
            if np.average(np.clip(free + shift, 0, top), weights=weights) < target:
                low = shift
            else:
                high = shift
    return [float(sparsity) for sparsity in np.clip(free + shift, 0, top)]


def _scores(linear: PrunableLinear, sums: Mapping[str, SquareSums]) -> mx.array:
    import mlx.core as mx

    return mx.abs(linear.weight.astype(mx.float32)) * sums[linear.name].root_mean_square()


OWL = Owl(
    "owl",
    "allocation",
    "owl",
    "each block has a sparsity of its own, lower where outliers are many (OWL, Yin et al., 2024)",
)
