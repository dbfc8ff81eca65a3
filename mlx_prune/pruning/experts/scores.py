"""What makes an expert worth keeping: the scores as published, and which experts follow from them.

Only NumPy: sums come from :mod:`.measuring`, and everything here is in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

# Su et al. 2025 (arXiv 2507.23279): of all experts' largest outputs, above this percentile ...
_PERCENTILE = 99.5
# ... and above this share of the largest of all.
_SHARE = 0.1
# Massive activations as Sun et al. 2024 define them (arXiv 2402.17762, section 2): above this value, and this
# many times the median of the hidden state that they stand in.
_MASSIVE = 100.0
_TIMES_MEDIAN = 1000.0
# A block forms them, rather than passing them on, if the largest value grows by this factor.
_GROWTH = 2.0


@dataclass(frozen=True)
class ExpertSums:
    """What the experts of one mixture did on a text, [experts] each.

    Attributes:
        tokens: How many were routed to the expert.
        norms: Sum over these of the length of its output.
        weighted: Sum of the length times the weight that its output was added with.
        largest: The largest magnitude in its outputs.
    """

    tokens: Integers
    norms: Floats
    weighted: Floats
    largest: Floats

    @classmethod
    def nothing(cls, experts: int) -> ExpertSums:
        """Before any token."""
        floats = (np.zeros(experts, dtype=np.float64) for _ in range(3))
        return cls(np.zeros(experts, dtype=np.int64), *floats)

    @classmethod
    def of(
        cls, experts: int, indices: Integers, weights: Floats, norms: Floats, largest: Floats
    ) -> ExpertSums:
        """Of pairs of a token and an expert.

        Args:
            experts: Size of the mixture.
            indices: [pairs] the expert. A pair of weight 0 is none: nothing of it was added.
            weights: [pairs] what the expert's output was multiplied with.
            norms: [pairs] length of the output.
            largest: [pairs] largest magnitude in the output.
        """
        routed = weights != 0
        chosen, weights, norms, largest = (a[routed] for a in (indices, weights, norms, largest))
        peak = np.zeros(experts)
        with np.errstate(invalid="ignore"):  # what is not finite is refused where its place is known
            np.maximum.at(peak, chosen, largest)
        return cls(
            np.bincount(chosen, minlength=experts).astype(np.int64),
            np.bincount(chosen, weights=norms, minlength=experts).astype(np.float64),
            np.bincount(chosen, weights=norms * weights, minlength=experts).astype(np.float64),
            peak,
        )

    def __add__(self, other: ExpertSums) -> ExpertSums:
        return ExpertSums(
            self.tokens + other.tokens,
            self.norms + other.norms,
            self.weighted + other.weighted,
            np.maximum(self.largest, other.largest),
        )

    def to_json(self) -> dict[str, list[float]]:
        """Exactly: Python writes floats so that they are read back as they were."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, entries: Mapping[str, list[float]]) -> ExpertSums:
        """The inverse of :meth:`to_json`."""
        norms, weighted, largest = (
            np.array(entries[name], dtype=np.float64) for name in ("norms", "weighted", "largest")
        )
        return cls(np.array(entries["tokens"], dtype=np.int64), norms, weighted, largest)


def reap(sums: ExpertSums) -> Floats:
    """Router-weighted expert activation: mean over an expert's tokens of gate weight times output norm.

    ``S_j = 1/|X_j| sum over x in X_j of g_j(x) ||f_j(x)||``, X_j being the tokens routed to expert j (Lasby
    et al. 2025, arXiv 2510.13999). An expert without any token has 0.
    """
    return np.asarray(sums.weighted / np.maximum(sums.tokens, 1))


def ean(sums: ExpertSums) -> Floats:
    """Expert activation norm: sum over an expert's tokens of the length of its output.

    ``S_j = sum over x in X_j of ||f_j(x)||`` (Jaiswal et al. 2025, arXiv 2504.05586), whatever the router
    makes of it.
    """
    return sums.norms


def frequency(sums: ExpertSums) -> Floats:
    """The number of tokens routed to an expert, ``|X_j|`` (a baseline of arXiv 2510.13999, among others)."""
    return sums.tokens.astype(np.float64)


def weight_norm(squares: Floats) -> Floats:
    """The length of all weights of an expert, without any text: structured pruning by magnitude.

    Li et al. 2017 (arXiv 1608.08710) rank whole filters so, by the sum of ``|w|``; this is the root of the
    sum of squares, over all matrices of an expert.

    Args:
        squares: [experts] sums of squared weights.
    """
    return np.asarray(np.sqrt(squares))


def drawn(experts: int, seed: int, block: int) -> Floats:
    """Random scores, the control: as many experts go, without any reason.

    Args:
        experts: Size of the mixture.
        seed: Of the recipe.
        block: Index of the block; each has draws of its own.
    """
    return np.random.default_rng([seed, block]).random(experts)


MEASURED = {"reap": reap, "ean": ean, "frequency": frequency}
"""The scores that follow from what experts do on a text."""


@dataclass(frozen=True)
class HiddenPeak:
    """The hidden states that enter and leave a block.

    Attributes:
        before: Largest magnitude that enters.
        after: Largest magnitude that leaves.
        median: Of the magnitudes in the hidden state that the latter stands in.
    """

    before: float
    after: float
    median: float

    @property
    def forms_massive(self) -> bool:
        """Whether massive activations arise in the block."""
        massive = self.after > max(_MASSIVE, _TIMES_MEDIAN * self.median)
        return massive and self.after >= _GROWTH * self.before


def super_experts(
    largest: Mapping[int, Floats], peaks: Mapping[int, HiddenPeak]
) -> tuple[dict[int, list[int]], float]:
    """Experts whose extreme outputs make the massive activations that attention sinks hang on.

    Su et al. 2025 (arXiv 2507.23279): the largest output of the expert lies above the 99.5th percentile of
    those of all experts and above a tenth of the largest of all, in a block that forms massive activations.
    Without them, models lose their attention sinks and repeat themselves.

    Args:
        largest: By block, [experts] largest magnitude of each expert's outputs.
        peaks: By block, its hidden states.

    Returns:
        Their indices by block, blocks without any left out; and the value that their outputs exceed.
    """
    everything = np.concatenate([*largest.values(), np.zeros(0)])
    if not everything.size:
        return {}, 0.0
    limit = max(float(np.percentile(everything, _PERCENTILE)), _SHARE * float(everything.max()))
    found = {
        block: np.flatnonzero(values > limit).tolist()
        for block, values in largest.items()
        if peaks[block].forms_massive
    }
    return {block: experts for block, experts in found.items() if experts}, limit


def kept(scores: Floats, removed: int, groups: int = 1, guarded: Sequence[int] = ()) -> Integers:
    """The experts that stay: those of largest score, of equal ones the later.

    Args:
        scores: [experts].
        removed: How many go, the same number of every group.
        groups: Groups of neighbors, of equal size.
        guarded: Experts that go only if no others are left.

    Returns:
        Their indices, ascending.
    """
    size, count = scores.size // groups, removed // groups
    protected = np.isin(np.arange(scores.size), guarded)
    stay = []
    for group in range(groups):
        inside = np.arange(group * size, (group + 1) * size)
        # By score; the last key is the first to sort by.
        order = inside[np.lexsort((inside, scores[inside], protected[inside]))]
        stay.append(order[count:])
    return np.sort(np.concatenate(stay)).astype(np.int64)
