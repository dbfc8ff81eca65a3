"""The verdict on a paired ratio: same, faster, slower, or not settled and what would settle it.

Two one-sided tests (Schuirmann 1987) read off one confidence interval: "same" if the whole interval lies
within the margin, so that a difference as large as the margin is rejected on either side; "faster" or
"slower" if it is not within the margin and the interval excludes 1. Each one-sided test has the level
(1 - confidence) / 2, and a model compared with itself is called faster or slower at most as often as the
interval misses 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlx_prune.measures.paired import MIN_ITEMS, PairedRatio

MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a paired ratio shows.

    Attributes:
        word: "same", "faster", "slower" or "not settled".
        more_rounds: Where not settled, about how many further rounds would settle it; None if none would.
        more_items: Where not settled and rounds alone will not do, about how many further items would.
    """

    word: str
    more_rounds: int | None = None
    more_items: int | None = None

    def __str__(self) -> str:
        """The verdict with its advice: ``not settled, run 4 more rounds``."""
        if self.more_rounds is not None:
            return f"{self.word}, run {_count(self.more_rounds, 'round')}"
        if self.more_items is not None:
            return f"{self.word}, run {_count(self.more_items, 'item')}"
        return self.word


def _count(number: int, unit: str) -> str:
    return f"{number:,} more {unit}{'' if number == 1 else 's'}"


def verdict(ratio: PairedRatio, margin: float = MARGIN) -> Verdict:
    """Compare an interval with 1 and with a margin.

    Args:
        ratio: From :func:`~mlx_prune.measures.paired.paired_ratio`.
        margin: Largest difference that does not matter, as a fraction: "same" lies between 1 / (1 + margin)
            and 1 + margin, symmetric on the log scale that ratios live on.

    Returns:
        The verdict, with the rounds or items that an unsettled one is short of.
    """
    if not ratio.settled:
        if ratio.items < MIN_ITEMS:
            return Verdict("not settled", more_items=MIN_ITEMS - ratio.items)
        return Verdict("not settled", more_rounds=2)
    limit = math.log1p(margin)
    low, high = math.log(ratio.low), math.log(ratio.high)
    if -limit < low and high < limit:
        return Verdict("same")
    if high < 0:
        return Verdict("faster")
    if low > 0:
        return Verdict("slower")
    return _what_is_missing(ratio, limit)


def _what_is_missing(ratio: PairedRatio, limit: float) -> Verdict:
    """Rounds or items that would narrow the interval until it excludes 1 or fits the margin."""
    center = abs(math.log(ratio.ratio))
    width = (math.log(ratio.high) - math.log(ratio.low)) / 2
    # Whichever is nearer: excluding 1 takes a half-width below the distance to it, "same" one below the
    # distance to the margin.
    wanted = (max(center, limit - center) / width) ** 2
    items_part = 1 - ratio.noise_share
    if wanted > items_part:
        rounds = ratio.rounds * ratio.noise_share / (wanted - items_part)
        # Where items differ more than rounds do, rounds without end would do little; items then do more.
        if items_part < 0.5 or rounds <= 10 * ratio.rounds:
            return Verdict("not settled", more_rounds=max(1, math.ceil(rounds) - ratio.rounds))
    return Verdict("not settled", more_items=max(1, math.ceil(ratio.items / wanted) - ratio.items))
